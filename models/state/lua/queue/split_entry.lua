--[[
Takes a batch of the queue apart into batches of one event each, in one step, so that an event that ends its worker's
process ends alone. They begin without an attempt, and each is given to a worker alone, at once.

KEYS[1] journal_bytes  int
KEYS[2] held           hash    bytes in queue and log by tenant
KEYS[3] waiting        hash    see append_journal.lua
KEYS[4...] streams     stream  the shard's queue, see apply/entries.lua

ARGV[1] name           string  of the entry
ARGV[2...] packed      bytes   of each part

RETURNS 1 taken apart, 0 the queue does not have it
]]
assert(#KEYS == 8 and #ARGV >= 2)
local journal_bytes, held, waiting, streams = KEYS[1], KEYS[2], KEYS[3], { unpack(KEYS, 4) }
local name, LONG_AGO, FIRST_PART = ARGV[1], 3600000, 2

-- include: tenants
-- include: entries

local apart = streams[Limit.STREAMS]
if not take_out(name) then
  return 0
end
redis.pcall('XGROUP', 'CREATE', apart, Text.GROUP, '0', 'MKSTREAM')
for at = FIRST_PART, #ARGV do
  local id = add(apart, string.match(id_of(name), '^%d+'), ARGV[at])
  redis.call('XCLAIM', apart, Text.GROUP, Text.GROUP, 0, id, 'IDLE', LONG_AGO, 'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
end
return 1
