--[[
Takes a batch of the journal apart into batches of one event each, in one step, so that an event that ends its worker's
process ends alone. They are not ready: each gets a message of its own by the sweep, at once.

KEYS[1] journal            hash
KEYS[2] journal_index      zset
KEYS[3] journal_due        zset
KEYS[4] journal_bytes      int
KEYS[5] journal_attempts   hash
KEYS[6] ready              zset
KEYS[7] held               hash    bytes in journal and log by tenant

ARGV[1] batch_id           string
ARGV[2] due                int     milliseconds since the epoch
ARGV[3...] for each part:
         batch_id          string
         packed            bytes

RETURNS 1 taken apart, 0 the journal does not have it
]]
assert(#KEYS == 7 and #ARGV >= 4 and #ARGV % 2 == 0)
local journal, journal_index, journal_due, journal_bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local journal_attempts, ready, held = KEYS[5], KEYS[6], KEYS[7]
local batch_id, due = ARGV[1], ARGV[2]
local FIRST_PART = 3

-- include: tenants

local whole = redis.call('HGET', journal, batch_id)
if not whole then
  return 0
end
local accepted = redis.call('ZSCORE', journal_index, batch_id) or due
local bytes = -#whole
for at = FIRST_PART, #ARGV, 2 do
  local part_id, packed = ARGV[at], ARGV[at + 1]
  if redis.call('HSETNX', journal, part_id, packed) == 1 then
    redis.call('ZADD', journal_index, accepted, part_id)
    redis.call('ZADD', journal_due, due, part_id)
    redis.call('HSET', journal_attempts, part_id, 1) -- else the sweep would make them ready, to be taken together
    bytes = bytes + #packed
    redis.call('HINCRBY', held, tenant_of(packed), #packed)
  end
end
redis.call('HDEL', journal, batch_id)
redis.call('ZREM', journal_index, batch_id)
redis.call('ZREM', journal_due, batch_id)
redis.call('ZREM', ready, batch_id)
redis.call('HDEL', journal_attempts, batch_id)
redis.call('INCRBY', journal_bytes, bytes)
let_go(held, tenant_of(whole), #whole)
return 1
