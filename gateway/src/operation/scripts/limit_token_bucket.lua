local capacity, refill, interval, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if capacity < 1 or refill < 1 or interval < 1 or interval > 1e12 or cost < 1 then
  return redis.error_reply('ERR capacity, refill, interval and cost have to be positive')
end
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(kept[1] or capacity), tonumber(kept[2] or now)
-- The clock of another node may be behind.
if at > now then now = at end
tokens = math.min(capacity, tokens + (now - at) / 1000 * refill / interval)
if cost > capacity then return {0, math.floor(tokens), -1} end
if cost > tokens then return {0, math.floor(tokens), math.ceil((cost - tokens) * interval / refill)} end
tokens = tokens - cost
redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', string.format('%.0f', now))
-- A bucket that is full again is as one that was never there.
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(math.ceil((capacity - tokens) * interval / refill) + 1, 1e14)))
return {1, math.floor(tokens), 0}
