--[[
Drops log entries that PostgreSQL has committed, and takes their size off the count of what it does not have yet.

KEYS[1] log          stream
KEYS[2] log_bytes    int      bytes of the batches, unlocks and evaluations in the log
KEYS[3] held         hash     bytes in journal and log by tenant
KEYS[4] history      hash     see models/state/fleet/histories.py

ARGV[1] entries      msgpack  array of {entry id, size in bytes, {tenant, its bytes, ...}}
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
  if redis.call('XDEL', log, entry[1]) == 1 then
    dropped, size = dropped + 1, size + entry[2]
    for at = 1, #entry[3], 2 do
      let_go(held, entry[3][at], entry[3][at + 1])
    end
  end
end
redis.call('DECRBY', log_bytes, size)
if redis.call('XLEN', log) == 0 then
  -- An entry that another release wrote may have been counted otherwise; no such difference outlives an empty log.
  redis.call('DEL', log_bytes)
end
return dropped
