-- The limits of one request, judged together by the server's clock and counted all or none. The arithmetic is policy::limit's.
--
-- ARGV[1]: admit, spend or refund. Then for each key five arguments: the kind, three numbers of the measure, and the units; for a
-- refund the units are the time at which one was taken.
--   gcra:   ticks between two units, ticks of tolerance, -
--   window: its length, its count, its step, in microseconds
-- Answers the time, and for each key four numbers: 1, two of the state, when the unit counts as taken; or 0, the wait, 0, 0.
--
-- All times are microseconds. Ticks are 1024ths of one: sums of them are exact in a double, as those of fractions are not.

local TICKS = 1024
local operation = ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- A server that took over may have a clock that is behind.
local function not_before(time)
  return math.max(now, time)
end

-- GCRA: "time debt", where debt is how far, in ticks, the theoretical arrival time is ahead of the time.

local function debt_of(key)
  local state = redis.call('GET', key)
  if not state then return now, 0 end
  local last, debt = string.match(state, '^(%d+) (%d+)$')
  local at = not_before(tonumber(last))
  return at, math.max(0, tonumber(debt) - (at - tonumber(last)) * TICKS)
end

local function set_debt(key, at, debt)
  if debt <= 0 then
    redis.call('DEL', key)
  else
    local left = math.ceil(debt / TICKS / 1000) + 1
    redis.call('SET', key, string.format('%.0f %.0f', at, debt), 'PX', string.format('%.0f', left))
  end
end

local gcra = {}

function gcra.admit(key, interval, tolerance, _, units)
  local at, debt = debt_of(key)
  local wanted = debt + interval * math.max(units, 1)
  if wanted > tolerance then
    return false, math.ceil((wanted - tolerance) / TICKS)
  end
  if units > 0 then debt = wanted end
  return true, math.ceil(debt / TICKS), 0, at, function() if units > 0 then set_debt(key, at, debt) end end
end

function gcra.spend(key, interval, _, _, units)
  local at, debt = debt_of(key)
  set_debt(key, at, debt + interval * units)
end

-- What time has given back already is not given twice.
function gcra.refund(key, interval, _, _, taken)
  local at, debt = debt_of(key)
  set_debt(key, at, debt - math.max(0, interval - (at - taken) * TICKS))
end

-- Window: a list of runs "time from to", units that were taken together, the oldest first. Units are numbered on from run to run.

local function run(key, place)
  local text = redis.call('LINDEX', key, place)
  if not text then return nil end
  local at, from, to = string.match(text, '^(%d+) (%d+) (%d+)$')
  return { at = tonumber(at), from = tonumber(from), to = tonumber(to) }
end

local function text_of(r)
  return string.format('%.0f %.0f %.0f', r.at, r.from, r.to)
end

local function in_one_step(one, other, step)
  return math.floor(one / step) == math.floor(other / step)
end

-- Forgets what is over; the first run that counts, and the last.
local function live(key, length)
  local first = run(key, 0)
  while first and first.at + length <= now do
    redis.call('LPOP', key)
    first = run(key, 0)
  end
  return first, first and run(key, -1)
end

local function take(key, length, step, units)
  local _, last = live(key, length)
  local at = not_before(last and last.at or now)
  if last and in_one_step(last.at, at, step) then
    redis.call('LSET', key, -1, text_of({ at = at, from = last.from, to = last.to + units }))
  else
    local from = last and last.to or 0
    redis.call('RPUSH', key, text_of({ at = at, from = from, to = from + units }))
  end
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil((at + length - now) / 1000) + 1))
end

local window = {}

function window.admit(key, length, count, step, units)
  local first, last = live(key, length)
  local taken = first and last.to - first.from or 0
  local over = taken + math.max(units, 1) - count
  if over > 0 then
    local place, r = 0, first
    while r and r.to - first.from < over do
      place = place + 1
      r = run(key, place)
    end
    return false, (r and r.at or now) + length - now
  end
  local at = not_before(last and last.at or now)
  -- The unit joins the only run, and moves it on.
  local joins = first and first.to == last.to and units > 0 and in_one_step(last.at, at, step)
  local begins = first and not joins and first.at or at
  return true, taken + units, begins + length - now, at, function() if units > 0 then take(key, length, step, units) end end
end

function window.spend(key, length, _, step, units)
  take(key, length, step, units)
end

-- A run's time only moves on, within its step: the unit is in the run of its step, if that still counts.
function window.refund(key, _, _, step, taken)
  local place, r = -1, run(key, -1)
  while r and math.floor(r.at / step) > math.floor(taken / step) do
    place = place - 1
    r = run(key, place)
  end
  if not r or not in_one_step(r.at, taken, step) then return end
  for later = -1, place, -1 do
    local moved = run(key, later)
    moved.to = moved.to - 1
    if later > place then moved.from = moved.from - 1 end
    redis.call('LSET', key, later, text_of(moved))
  end
  r = run(key, place)
  if r.from == r.to then
    redis.call('LSET', key, place, '-')
    redis.call('LREM', key, -1, '-')
  end
end

local kinds = { gcra = gcra, window = window }
local answer, counts, all = { now }, {}, true
for place, key in ipairs(KEYS) do
  local first = 2 + (place - 1) * 5
  local kind, a, b, c, units = ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3], ARGV[first + 4]
  local act = kinds[kind][operation]
  local yes, state, more, at, count = act(key, tonumber(a), tonumber(b), tonumber(c), tonumber(units))
  for _, number in ipairs({ yes and 1 or 0, state or 0, more or 0, at or 0 }) do
    table.insert(answer, number)
  end
  table.insert(counts, count)
  all = all and yes
end
if all then
  for _, count in ipairs(counts) do count() end
end
return answer
