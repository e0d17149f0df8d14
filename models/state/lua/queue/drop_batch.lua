--[[
Takes a batch out of the journal without applying it: it has been dead-lettered.

KEYS[1] journal            hash
KEYS[2] journal_index      zset
KEYS[3] journal_due        zset
KEYS[4] journal_bytes      int
KEYS[5] journal_attempts   hash
KEYS[6] ready              zset
KEYS[7] held               hash    bytes in journal and log by tenant

ARGV[1] batch_id           string

RETURNS 1 dropped, 0 it was not there
]]
assert(#KEYS == 7 and #ARGV == 1)
local journal, journal_index, journal_due, journal_bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local journal_attempts, ready, held = KEYS[5], KEYS[6], KEYS[7]
local batch_id = ARGV[1]

-- include: tenants

local packed = redis.call('HGET', journal, batch_id)
redis.call('ZREM', journal_index, batch_id)
redis.call('ZREM', journal_due, batch_id)
redis.call('ZREM', ready, batch_id)
redis.call('HDEL', journal_attempts, batch_id)
if redis.call('HDEL', journal, batch_id) == 0 then
  return 0
end
redis.call('DECRBY', journal_bytes, #packed)
let_go(held, tenant_of(packed), #packed)
return 1
