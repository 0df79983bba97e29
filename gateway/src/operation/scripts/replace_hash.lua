local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'hash' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE Operation against a key holding the wrong kind of value')
end
local last = 1 + 2 * ARGV[1]
local token, ttl = ARGV[last + 1], tonumber(ARGV[last + 2])
if token then
  ttl = ttl * (token == 'EX' and 1000 or 1)
  if ttl < 1 or ttl > 1e14 then return redis.error_reply('ERR invalid expire time') end
end
redis.call('DEL', KEYS[1])
-- More arguments than Lua's stack holds have to go in several commands.
for at = 2, last, 1000 do redis.call('HSET', KEYS[1], unpack(ARGV, at, math.min(at + 999, last))) end
if token then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl)) end
return redis.call('HLEN', KEYS[1])
