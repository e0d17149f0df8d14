--[[
Takes users whose records are gone off the dirty set: with a maxmemory-policy that evicts them there is nothing left to
flush, and they would stand in front of the others for ever.

KEYS[1] dirty        zset
KEYS[2...] record    hash    for each user

ARGV[1...] member    string  in the order of KEYS

RETURNS number of users taken off
]]
assert(#KEYS >= 2 and #ARGV == #KEYS - 1)
local dirty = KEYS[1]

local gone = 0
for index, member in ipairs(ARGV) do
  if redis.call('EXISTS', KEYS[index + 1]) == 0 then
    gone = gone + redis.call('ZREM', dirty, member)
  end
end
return gone
