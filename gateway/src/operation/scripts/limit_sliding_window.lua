local limit, window, cost = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000, tonumber(ARGV[3])
if limit < 1 or window < 1 or window > 1e14 or cost < 1 then
  return redis.error_reply('ERR limit, window and cost have to be positive')
end
local function text(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
-- The clock of another node may be behind.
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last and tonumber(last) > now then now = tonumber(last) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now - window))
local count = redis.call('ZCARD', KEYS[1])
if cost > limit then return {0, math.max(limit - count, 0), -1} end
if count + cost > limit then
  local at = count + cost - limit - 1
  local leaves = redis.call('ZRANGE', KEYS[1], text(at), text(at), 'WITHSCORES')[2]
  return {0, math.max(limit - count, 0), math.ceil((leaves + window - now) / 1000)}
end
for one = 1, cost do redis.call('ZADD', KEYS[1], text(now), text(now) .. '-' .. text(count + one)) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, limit - count - cost, 0}
