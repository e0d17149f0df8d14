--[[
Takes an entry out of a shard's queue without applying it: it has been dead-lettered, or was put elsewhere.

KEYS[1] journal_bytes  int
KEYS[2] held           hash    bytes in queue and log by tenant
KEYS[3] waiting        hash    see append_journal.lua
KEYS[4...] streams     stream  the shard's queue, see apply/entries.lua

ARGV[1] name           string  of the entry

RETURNS 1 taken out, 0 it was not there
]]
assert(#KEYS == 8 and #ARGV == 1)
local journal_bytes, held, waiting, streams = KEYS[1], KEYS[2], KEYS[3], { unpack(KEYS, 4) }

-- include: tenants
-- include: entries

return take_out(ARGV[1]) and 1 or 0
