-- The modes of some routes, and how many modes there are in all. One that is too long to be a mode comes empty, and is not read.
--
-- KEYS[1]: the hash of modes. ARGV[1]: how long a mode may be, in bytes; ARGV[2] and further: the routes.
-- Answers the number, and for each route its mode or false.

local longest = tonumber(ARGV[1])
local modes = {}
for place = 2, #ARGV do
  local route = ARGV[place]
  if redis.call('HSTRLEN', KEYS[1], route) > longest then
    modes[place - 1] = ''
  else
    modes[place - 1] = redis.call('HGET', KEYS[1], route)
  end
end
return { redis.call('HLEN', KEYS[1]), modes }
