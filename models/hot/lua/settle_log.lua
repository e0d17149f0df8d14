--[[
Drops log entries that PostgreSQL has committed, and takes their size off the count of what it does not have yet.

KEYS[1] log          stream
KEYS[2] log_bytes    int      bytes of the batches, unlocks and evaluations in the log

ARGV[1] entries      msgpack  array of {entry id, size in bytes}

RETURNS number of entries dropped; one that another flush has dropped before is not counted
]]
assert(#KEYS == 2 and #ARGV == 1)
local log, log_bytes, entries = KEYS[1], KEYS[2], cmsgpack.unpack(ARGV[1])

local dropped, size = 0, 0
for _, entry in ipairs(entries) do
  if redis.call('XDEL', log, entry[1]) == 1 then
    dropped, size = dropped + 1, size + entry[2]
  end
end
redis.call('DECRBY', log_bytes, size)
if redis.call('XLEN', log) == 0 then
  -- An entry that another release wrote may have been counted otherwise; no such difference outlives an empty log.
  redis.call('DEL', log_bytes)
end
return dropped
