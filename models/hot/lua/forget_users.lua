--[[
Takes users whose records are gone off the dirty set: with a maxmemory-policy that evicts them there is nothing left to
flush, and they would stand in front of the others for ever. A record that is being loaded again holds nothing either;
one without any mark of loading is a half record that an older release left behind, and goes too. A key that holds
another application's value is left as it is.

KEYS[1] dirty        zset
KEYS[2...] record    hash    for each user

ARGV[1...] member    string  in the order of KEYS

RETURNS number of users taken off
]]
assert(#KEYS >= 2 and #ARGV == #KEYS - 1)
local dirty = KEYS[1]

local gone = 0
for index, member in ipairs(ARGV) do
  local loaded = redis.pcall('HGET', KEYS[index + 1], '@loaded')
  if loaded ~= '1' then
    gone = gone + redis.call('ZREM', dirty, member)
  end
  if not loaded then
    redis.call('DEL', KEYS[index + 1])
  end
end
return gone
