local token, ttl = ARGV[#ARGV - 1], ARGV[#ARGV]
for at, key in ipairs(KEYS) do redis.call('SET', key, ARGV[at], token, ttl) end
return redis.status_reply('OK')
