-- Wrong passwords: how long nothing may be told, and, if that is not at all, the count of one more. All times are in milliseconds.
local wrong, row, known = KEYS[1], KEYS[2], KEYS[3]
local step, now = ARGV[1], tonumber(ARGV[2])
local most, window = tonumber(ARGV[3]), tonumber(ARGV[4])
local most_in_a_row, slow, remembered = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local wait = 0
local oldest = redis.call('LINDEX', wrong, most - 1)
if oldest then
  wait = math.max(wait, tonumber(oldest) + window - now)
end
local in_a_row = redis.call('HMGET', row, 'wrong', 'last')
if in_a_row[1] and tonumber(in_a_row[1]) >= most_in_a_row and redis.call('EXISTS', known) == 0 then
  wait = math.max(wait, tonumber(in_a_row[2]) + slow - now)
end
if wait > 0 or step == 'look' then
  return wait
end
if step == 'right' then
  redis.call('DEL', row)
  redis.call('SET', known, '', 'PX', remembered)
else
  redis.call('LPUSH', wrong, ARGV[2])
  redis.call('LTRIM', wrong, 0, most - 1)
  redis.call('PEXPIRE', wrong, window)
  redis.call('HINCRBY', row, 'wrong', 1)
  redis.call('HSET', row, 'last', ARGV[2])
  redis.call('PEXPIRE', row, remembered)
end
return 0
