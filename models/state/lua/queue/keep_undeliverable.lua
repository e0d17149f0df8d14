--[[
Keeps what no worker can take. Past its bounds the oldest entries leave, though nobody has made dead letters of them; the
newest stays, however large it is.

KEYS[1] undeliverable         list   entries, the oldest last
KEYS[2] undeliverable_bytes   int    bytes of all entries

ARGV[1] entry          bytes
ARGV[2] most           int    entries
ARGV[3] most_bytes     int

RETURNS how many left
]]
assert(#KEYS == 2 and #ARGV == 3)
local undeliverable, undeliverable_bytes = KEYS[1], KEYS[2]
local entry, most, most_bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local kept = redis.call('LPUSH', undeliverable, entry)
if kept == 1 then -- whatever was counted before is gone
  redis.call('DEL', undeliverable_bytes)
end
local bytes = redis.call('INCRBY', undeliverable_bytes, #entry)
local left = 0
while kept > 1 and (kept > most or bytes > most_bytes) do
  bytes = redis.call('DECRBY', undeliverable_bytes, #redis.call('RPOP', undeliverable))
  kept, left = kept - 1, left + 1
end
return left
