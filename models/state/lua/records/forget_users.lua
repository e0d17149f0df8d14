--[[
Takes users whose records are gone off the dirty set: with a maxmemory-policy that evicts them there is nothing left to
flush, and they would stand in front of the others for ever. A record that is being loaded again holds nothing either;
one without any mark of loading is a half record that an older release left behind, and goes too. A key that holds
another application's value is left as it is.

KEYS[1] dirty        zset
KEYS[2] history      hash    see models/state/fleet/histories.py
KEYS[3...] record    hash    for each user

ARGV[1...] member    string  in the order of KEYS

RETURNS number of users taken off
]]
assert(#KEYS >= 3 and #ARGV == #KEYS - 2)
local dirty, history, FIRST = KEYS[1], KEYS[2], 3

-- include: history

local gone = 0
for index, member in ipairs(ARGV) do
  local record = KEYS[FIRST + index - 1]
  local loaded = redis.pcall('HGET', record, '@loaded')
  if loaded ~= epoch then
    gone = gone + redis.call('ZREM', dirty, member)
  end
  if not loaded then
    redis.call('DEL', record)
  end
end
return gone
