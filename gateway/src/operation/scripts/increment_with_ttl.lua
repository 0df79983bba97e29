local ttl = tonumber(ARGV[3]) * (ARGV[2] == 'EX' and 1000 or 1)
if ttl < 1 or ttl > 1e14 then return redis.error_reply('ERR invalid expire time') end
redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl)) end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
