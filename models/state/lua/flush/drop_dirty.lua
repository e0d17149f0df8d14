--[[
Takes users off the dirty set, whose records are of a history that ends: part of a reset. The records get a lifetime, for
nothing will flush them.

KEYS[1] history     hash
KEYS[2] dirty       zset
KEYS[3...] record   hash    for each user

ARGV[1] reset       string  the reset that closed the shard
ARGV[2] record_ttl  int     milliseconds
ARGV[3...] member   string  in the order of KEYS

RETURNS number of users taken off; -1 another reset has taken over, or Redis went back again
]]
assert(#KEYS >= 2 and #ARGV == #KEYS)
local history, dirty, reset, record_ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local FIRST = 3

if redis.call('HGET', history, 'closed') ~= reset then
  return -1
end
local dropped = 0
for index = FIRST, #KEYS do
  redis.call('PEXPIRE', KEYS[index], record_ttl)
  dropped = dropped + redis.call('ZREM', dirty, ARGV[index])
end
return dropped
