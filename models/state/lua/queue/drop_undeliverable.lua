--[[
Takes out entries that became dead letters; others that came meanwhile stay.

KEYS[1] undeliverable         list   entries, the oldest last
KEYS[2] undeliverable_bytes   int    bytes of all entries

ARGV[1...] entry       bytes

RETURNS how many were there
]]
assert(#KEYS == 2 and #ARGV > 0)
local undeliverable, undeliverable_bytes = KEYS[1], KEYS[2]

local dropped = 0
for _, entry in ipairs(ARGV) do
  if redis.call('LREM', undeliverable, -1, entry) == 1 then
    redis.call('DECRBY', undeliverable_bytes, #entry)
    dropped = dropped + 1
  end
end
return dropped
