local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'channel', ARGV[4] or ARGV[1], 'message', ARGV[2])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return id
