local most = tonumber(ARGV[1])
if most < 1 then return redis.error_reply('ERR maxlen has to be at least 1') end
for at = 2, #ARGV do
  redis.call('LREM', KEYS[1], 0, ARGV[at])
  redis.call('LPUSH', KEYS[1], ARGV[at])
end
redis.call('LTRIM', KEYS[1], 0, ARGV[1] - 1)
return redis.call('LLEN', KEYS[1])
