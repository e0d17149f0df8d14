--[[
Gives a lease back, unless it has passed on to another holder.

KEYS[1] lease    string   its holder

ARGV[1] holder   string

RETURNS 1 it is free now, 0 it was not this holder's
]]
assert(#KEYS == 1 and #ARGV == 1)
local lease, holder = KEYS[1], ARGV[1]

if redis.call('GET', lease) ~= holder then
  return 0
end
return redis.call('DEL', lease)
