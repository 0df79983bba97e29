local count = tonumber(ARGV[1])
if count < 1 then return redis.error_reply('ERR count has to be at least 1') end
local moved = {}
for at = 1, math.min(count, redis.call('LLEN', KEYS[1])) do
  moved[at] = redis.call('LMOVE', KEYS[1], KEYS[2], ARGV[2], ARGV[3])
end
return moved
