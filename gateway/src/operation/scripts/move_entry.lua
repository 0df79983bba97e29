local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
local id = false
if found[1] then
  id = redis.call('XADD', KEYS[2], '*', unpack(found[1][2]))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return id
