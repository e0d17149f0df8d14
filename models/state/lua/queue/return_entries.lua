--[[
Puts entries of the log back into the journal, as accepted batches of the events that counted, one for each tenant: part
of a reset. An entry that PostgreSQL has all the same does no harm, for its ids are known when it is applied again.

KEYS[1] history         hash
KEYS[2] log             stream
KEYS[3] log_bytes       int
KEYS[4] journal         hash
KEYS[5] journal_index   zset
KEYS[6] journal_due     zset
KEYS[7] journal_bytes   int
KEYS[8] ready           zset
KEYS[9] held            hash     bytes in journal and log by tenant

ARGV[1] reset           string   the reset that closed the shard
ARGV[2] now             int      milliseconds since the epoch
ARGV[3] entries         msgpack  array of {entry id, its size, {tenant, its bytes, ...}, {batch id, packed batch, ...}}

RETURNS number of entries put back; -1 another reset has taken over, or Redis went back again
]]
assert(#KEYS == 9 and #ARGV == 3)
local history, log, log_bytes, journal, journal_index = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local journal_due, journal_bytes, ready, held = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local reset, now, entries = ARGV[1], ARGV[2], cmsgpack.unpack(ARGV[3])

-- include: tenants

local function put_back(batch_id, packed)
  redis.call('HSET', journal, batch_id, packed)
  redis.call('ZADD', journal_index, now, batch_id)
  redis.call('ZADD', journal_due, now, batch_id)
  redis.call('ZADD', ready, now, batch_id)
  redis.call('INCRBY', journal_bytes, #packed)
  redis.call('HINCRBY', held, tenant_of(packed), #packed)
end

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
    for at = 1, #batches, 2 do
      put_back(batches[at], batches[at + 1])
    end
    returned = returned + 1
  end
end
if redis.call('XLEN', log) == 0 then
  redis.call('DEL', log_bytes)
end
return returned
