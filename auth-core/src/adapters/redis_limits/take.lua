-- One from a budget, by the generic cell rate algorithm. What is kept is the moment when the budget will be full. All times are in microseconds.
local now, interval, whole = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
-- What lies further ahead was written under another clock or quota.
local owed = math.min(math.max(full_at - now, 0), whole)
if owed + interval > whole then
  return {0, owed}
end
owed = owed + interval
redis.call('SET', KEYS[1], string.format('%.0f', now + owed), 'PX', math.ceil(owed / 1000))
return {1, owed}
