--[[
Moves accepted batches of a former release, which kept them in a hash, into a shard's queue: each in one step with taking
it out there, so that it is in one of the two whenever this ends. A worker of that release that has one in hand applies
it as well, which its events' ids will tell.

KEYS[1] journal           hash    batch id -> packed batch
KEYS[2] journal_index     zset    batch id by time of acceptance
KEYS[3] journal_bytes     int
KEYS[4] held              hash    bytes in queue and log by tenant
KEYS[5] waiting           hash    see append_journal.lua
KEYS[6] ready             zset    of the former release; this and the next three go with the last batch
KEYS[7] due               zset
KEYS[8] attempts          hash
KEYS[9] turns             hash
KEYS[10...] streams       stream  the shard's queue, see apply/entries.lua

ARGV[1] now               int     milliseconds since the epoch
ARGV[2] most              int     batches

RETURNS number of batches moved
]]
assert(#KEYS == 14 and #ARGV == 2)
local journal, index, journal_bytes, held, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local streams, now, most = { unpack(KEYS, 10) }, ARGV[1], tonumber(ARGV[2])

-- include: tenants
-- include: entries
-- include: puts

if redis.call('EXISTS', journal) == 0 then
  return 0
end
local batch_ids = redis.call('ZRANGE', index, 0, most - 1)
if #batch_ids == 0 then -- what the index has lost is accepted all the same
  batch_ids = redis.call('HRANDFIELD', journal, most)
end
for _, batch_id in ipairs(batch_ids) do
  local packed = redis.call('HGET', journal, batch_id)
  if packed then
    put(packed, now)
    redis.call('DECRBY', journal_bytes, #packed) -- it is counted already
    let_go(held, tenant_of(packed), #packed)
    redis.call('HDEL', journal, batch_id)
  end
  redis.call('ZREM', index, batch_id)
end
if redis.call('EXISTS', journal) == 0 then
  redis.call('DEL', KEYS[6], KEYS[7], KEYS[8], KEYS[9])
end
return #batch_ids
