--[[
Puts entries of the log back into the shard's queue, as accepted batches of the events that counted, one for each tenant:
part of a reset. An entry that PostgreSQL has all the same does no harm, for its ids are known when it is applied again.

KEYS[1] history         hash
KEYS[2] log             stream
KEYS[3] log_bytes       int
KEYS[4] journal_bytes   int
KEYS[5] held            hash     bytes in queue and log by tenant
KEYS[6] waiting         hash     see append_journal.lua
KEYS[7...] streams      stream   the shard's queue, see apply/entries.lua

ARGV[1] reset           string   the reset that closed the shard
ARGV[2] now             int      milliseconds since the epoch
ARGV[3] entries         msgpack  array of {entry id, its size, {tenant, its bytes, ...}, {packed batch, ...}}

RETURNS number of entries put back; -1 another reset has taken over, or Redis went back again
]]
assert(#KEYS == 11 and #ARGV == 3)
local history, log, log_bytes, journal_bytes, held, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local streams, reset, now, entries = { unpack(KEYS, 7) }, ARGV[1], ARGV[2], cmsgpack.unpack(ARGV[3])

-- include: tenants
-- include: entries
-- include: puts

if redis.call('HGET', history, 'closed') ~= reset then
  return -1
end
local returned = 0
for _, entry in ipairs(entries) do
  local entry_id, size, tenants, batches = unpack(entry)
  if redis.call('XDEL', log, entry_id) == 1 then
    redis.call('DECRBY', log_bytes, size)
    for at = 1, #tenants, 2 do
      let_go(held, tenants[at], tenants[at + 1])
    end
    for _, packed in ipairs(batches) do
      put(packed, now)
    end
    returned = returned + 1
  end
end
if redis.call('XLEN', log) == 0 then
  redis.call('DEL', log_bytes)
end
return returned
