local expected, rest = false, 3
if ARGV[2] == 'EQUALS' then expected, rest = ARGV[3], 4 end
if redis.call('GET', KEYS[1]) ~= expected then return 0 end
redis.call('SET', KEYS[1], ARGV[1], unpack(ARGV, rest))
return 1
