--[[
Takes a shard's lease if it is free, or renews it if it is the worker's own.

KEYS[1] lease    string   the worker that consumes the shard's queue

ARGV[1] worker   string
ARGV[2] ttl      int      milliseconds until the lease is free again unless it is renewed

RETURNS 1 the worker holds it, 0 another one does
]]
assert(#KEYS == 1 and #ARGV == 2)
local lease, worker, ttl = KEYS[1], ARGV[1], ARGV[2]

local owner = redis.call('GET', lease)
if owner and owner ~= worker then
  return 0
end
redis.call('SET', lease, worker, 'PX', ttl)
return 1
