--[[
Replaces the fence of a shard, if it is still what the caller has seen.

KEYS[1] fence    string

ARGV[1] seen     string   the fence that was seen; '' where there was none
ARGV[2] fence    string   the one to put instead of it

RETURNS 1 replaced, 0 it is another one by now
]]
assert(#KEYS == 1 and #ARGV == 2)
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
