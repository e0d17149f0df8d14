--[[
Takes a lease if it is free, or renews it if it is the holder's own.

KEYS[1] lease    string   its holder

ARGV[1] holder   string
ARGV[2] ttl      int      milliseconds until it is free again unless it is renewed

RETURNS 1 it is held, 0 another one does
]]
assert(#KEYS == 1 and #ARGV == 2)
local lease, holder, ttl = KEYS[1], ARGV[1], ARGV[2]

local owner = redis.call('GET', lease)
if owner and owner ~= holder then
  return 0
end
redis.call('SET', lease, holder, 'PX', ttl)
return 1
