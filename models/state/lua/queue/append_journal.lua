--[[
Accepts one batch, which is of one tenant: puts it into its shard's queue, unless PostgreSQL went back in time and waits for
an operator, or the shard is at one of its bounds:
- bytes: the queue grows while workers are behind, the log while PostgreSQL is;
- the tenant's part of these bytes;
- age: batches wait that no worker was given, and no worker has done anything of the shard for too long. One that a
  worker was given and that waits for its next attempt does not close the shard for others;
- users with changes that PostgreSQL lacks, and the tenant's part of them. Batches that are already in the queue may
  still add to them, within the bound on bytes.

A tenant may hold at most SHARE times what is still free. So one that is alone may take four fifths of a bound, several
that want all of it share it evenly, and there is always room for one that holds little.

KEYS[1] journal_bytes   int     bytes of all packed batches in the queue
KEYS[2] log_bytes       int     bytes of all applied batches, unlocks and evaluations in the log
KEYS[3] dirty           zset    users with changes that PostgreSQL lacks
KEYS[4] held            hash    bytes in queue and log by tenant
KEYS[5] waiting         hash    what waits in the queue by tenant, in bytes and costs; @taken: when a worker did something last
KEYS[6] history         hash    see models/state/fleet/histories.py
KEYS[7] layout          hash    shards: by how many Redis is laid out, 0 while that changes; see write_layout.lua
KEYS[8...] streams      stream  the shard's queue, see apply/entries.lua

ARGV[1] packed          bytes   the batch
ARGV[2] now             int     milliseconds since the epoch
ARGV[3] max_bytes       int
ARGV[4] max_age         int     milliseconds
ARGV[5] max_dirty       int     users
ARGV[6] shards          int     by how many the batch was put in this shard; 0 for a batch that goes in anyhow

RETURNS the entry's name; or which bound the shard is at: -1 bytes, -2 age,
        -3 users; or which one the tenant is at: -4 bytes, -5 users; or -6 PostgreSQL is behind;
        or -7 Redis is laid out by another number of shards, or that changes just now
]]
assert(#KEYS == 12 and #ARGV == 6)
local journal_bytes, log_bytes, dirty, held, waiting = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local history, layout, streams = KEYS[6], KEYS[7], { unpack(KEYS, 8) }
local packed, now, max_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_age, max_dirty, shards = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local SAMPLE = 100

-- include: tenants
-- include: entries
-- include: puts
-- include: unread

local tenant = tenant_of(packed)

local function waits_too_long()
  local taken = tonumber(redis.call('HGET', waiting, '@taken') or '0')
  if now - taken <= max_age then -- the look at the streams costs more
    return false
  end
  local since = unread_since()
  return since and now - math.max(since, taken) > max_age
end

-- How many of the users are the tenant's: by a sample, which is needed only where most of the room is used.
local function users_of(number)
  local prefix, found = tenant .. ':', 0
  local sample = redis.call('ZRANDMEMBER', dirty, SAMPLE)
  for _, user in ipairs(sample) do
    if string.sub(user, 1, #prefix) == prefix then
      found = found + 1
    end
  end
  return number * found / math.max(#sample, 1)
end

if redis.call('HEXISTS', history, 'behind') == 1 then
  return -6
end
local laid_out = redis.call('HGET', layout, 'shards')
if laid_out and shards ~= '0' and laid_out ~= shards then
  return -7
end
local bytes = tonumber(redis.call('GET', journal_bytes) or '0') + tonumber(redis.call('GET', log_bytes) or '0')
if bytes <= 0 and redis.call('HLEN', held) > 0 then -- what a former release dropped it did not take off
  redis.call('DEL', held)
end
if bytes + #packed > max_bytes then
  return -1
end
if tonumber(redis.call('HGET', held, tenant) or '0') + #packed > Limit.SHARE * (max_bytes - bytes - #packed) then
  return -4
end
if waits_too_long() then
  return -2
end
local users = redis.call('ZCARD', dirty)
if users >= max_dirty then
  return -3
end
if users >= Limit.SHARE * (max_dirty - users) and users_of(users) >= Limit.SHARE * (max_dirty - users) then
  return -5
end
return put(packed, now)
