-- Removes the reports of gateways that are gone, and whatever is no report. Here, so that nobody is sent what others wrote.
--
-- KEYS[1]: the hash of reports. ARGV[1]: when a gateway that is there has reported at least, in milliseconds since the Unix epoch.

local since = tonumber(ARGV[1])
for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do
  local sound, report = pcall(cjson.decode, redis.call('HGET', KEYS[1], id))
  local seen = sound and type(report) == 'table' and tonumber(report.seen_ms) or 0
  if seen < since then
    redis.call('HDEL', KEYS[1], id)
  end
end
