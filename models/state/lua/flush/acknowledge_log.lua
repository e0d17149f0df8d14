--[[
Drops log entries that PostgreSQL has committed, and takes their size off the count of what it does not have yet.

KEYS[1] log          stream
KEYS[2] log_bytes    int      bytes of the batches, unlocks and evaluations in the log
KEYS[3] held         hash     bytes in journal and log by tenant
KEYS[4] history      hash     see models/state/fleet/histories.py

ARGV[1] entries      msgpack  array of FlushedEntry (models/wire.py)
ARGV[2] token        string   of the flush that committed them; a Redis that does not know it went back in time

RETURNS number of entries dropped; one that another flush has dropped before is not counted
]]
assert(#KEYS == 4 and #ARGV == 2)
local log, log_bytes, held, history = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local entries, token = cmsgpack.unpack(ARGV[1]), ARGV[2]

-- include: tenants

if (redis.call('HGET', history, 'token') or '') ~= token then
  return 0
end

local dropped, size = 0, 0
for _, entry in ipairs(entries) do
  if redis.call('XDEL', log, entry[FlushedEntry.entry_id]) == 1 then
    dropped, size = dropped + 1, size + entry[FlushedEntry.size]
    local tenants = entry[FlushedEntry.tenants]
    for at = 1, #tenants, 2 do
      let_go(held, tenants[at], tenants[at + 1])
    end
  end
end
redis.call('DECRBY', log_bytes, size)
if redis.call('XLEN', log) == 0 then
  -- An entry that another release wrote may have been counted otherwise; no such difference outlives an empty log.
  redis.call('DEL', log_bytes)
end
return dropped
