-- Counts the commands of all replicas in one bucket. KEYS: the bucket. ARGV: what comes a second, what it holds, what a replica
-- has used beyond what it was given (less than nothing is given back), what it would like to have. Returns what it gets, and what is left.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.pcall('HMGET', KEYS[1], 'level', 'at')
if kept.err then
  -- Somebody has put something else there.
  redis.call('DEL', KEYS[1])
  kept = {}
end
local before, at = tonumber(kept[1] or ''), tonumber(kept[2] or '')
local level = burst
if before and at then
  level = math.min(burst, before + math.max(0, now - at) * rate / 1000000)
end
level = level - ARGV[3]
local given = math.max(0, math.min(tonumber(ARGV[4]), math.floor(level)))
level = math.min(burst, level - given)
redis.call('HSET', KEYS[1], 'level', string.format('%.17g', level), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((burst - level) / rate * 1000) + 1000))
return {given, math.floor(level)}
