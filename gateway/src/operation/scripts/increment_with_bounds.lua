-- A double does not hold every integer of 64 bits; two of them, base 1e9, hold the sum of three.
local function parts(text)
  local sign = text:sub(1, 1) == '-' and -1 or 1
  local digits = text:gsub('^-', '')
  return sign * (tonumber(digits:sub(1, -10)) or 0), sign * tonumber(digits:sub(-9))
end
local now = redis.call('GET', KEYS[1]) or '0'
if not now:match('^-?%d+$') then return redis.error_reply('ERR value is not an integer or out of range') end
local high, low = parts(now)
local more_high, more_low = parts(ARGV[1])
local function beyond(bound)
  local bound_high, bound_low = parts(bound)
  return (high + more_high - bound_high) * 1e9 + (low + more_low - bound_low)
end
for at = 2, #ARGV, 2 do
  local side = beyond(ARGV[at + 1])
  if (ARGV[at] == 'MIN' and side < 0) or (ARGV[at] == 'MAX' and side > 0) then return {now, 0} end
end
redis.call('INCRBY', KEYS[1], ARGV[1])
return {redis.call('GET', KEYS[1]), 1}
