--[[
Writes one accepted batch, which is of one tenant, to its shard's journal, unless PostgreSQL went back in time and waits for
an operator, or the shard is at one of its bounds:
- bytes: the journal grows while workers are behind, the log while PostgreSQL is;
- the tenant's part of these bytes;
- age: batches are ready, and no worker has taken any of the shard for too long. A batch that a worker took and that
  waits for its next attempt is not ready: it does not close the shard for others;
- users with changes that PostgreSQL lacks, and the tenant's part of them. Batches that are already in the journal may
  still add to them, within the bound on bytes.

A tenant may hold at most SHARE times what is still free. So one that is alone may take four fifths of a bound, several
that want all of it share it evenly, and there is always room for one that holds little.

Batches become ready in a fair order (start-time fair queueing): the score of a batch is where its tenant's turn begins
in the shard's virtual time. That time stands at the score of the last batch that was taken, and each batch puts its tenant's
next turn off by its cost, in bytes; EVENT_COST stands for what an event costs beside its bytes. Both numbers are in models/wire.py.

Rings the shard's bell: only who finds it silent must publish a message, for the worker that comes takes all that is
ready. Where many batches of others wait, one of a tenant that waits for nothing asks for a message all the same: workers
leave a long rest for later (tasks/apply/applier.py), and it is not to wait for that.

KEYS[1] journal         hash    batch id -> packed batch
KEYS[2] journal_index   zset    batch id by time of acceptance
KEYS[3] journal_due     zset    batch id by the time from which the sweep may publish it again
KEYS[4] journal_bytes   int     bytes of all packed batches in the journal
KEYS[5] log_bytes       int     bytes of all applied batches, unlocks and evaluations in the log
KEYS[6] ready           zset    batch id by its turn, until a worker takes it
KEYS[7] bell            string  a message is on its way to a worker, or a worker is at it
KEYS[8] dirty           zset    users with changes that PostgreSQL lacks
KEYS[9] held            hash    bytes in journal and log by tenant
KEYS[10] turns          hash    @virtual: the virtual time; @taken: when a worker took last, or the sweep gave a shard where
                                nothing was ready some back; and for each tenant its next turn
KEYS[11] history        hash    see models/state/fleet/histories.py
KEYS[12] layout         hash    shards: by how many Redis is laid out, 0 while that changes; see write_layout.lua

ARGV[1] batch_id        string
ARGV[2] packed          bytes   the batch
ARGV[3] now             int     milliseconds since the epoch
ARGV[4] due             int     milliseconds since the epoch
ARGV[5] max_bytes       int
ARGV[6] bell_ttl        int     milliseconds after which a message counts as lost
ARGV[7] max_age         int     milliseconds
ARGV[8] max_dirty       int     users
ARGV[9] shards          int     by how many the batch was put in this shard; 0 for a batch that goes in anyhow

RETURNS 1 written, and a message is needed, 2 written (or there already), or which bound the shard is at: -1 bytes, -2 age,
        -3 users; or which one the tenant is at: -4 bytes, -5 users; or -6 PostgreSQL is behind;
        or -7 Redis is laid out by another number of shards, or that changes just now
]]
assert(#KEYS == 12 and #ARGV == 9)
local journal, journal_index, journal_due, journal_bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local log_bytes, ready, bell, dirty, held, turns = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local history = KEYS[11]
local batch_id, packed, now, due = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_bytes, bell_ttl = tonumber(ARGV[5]), ARGV[6]
local max_age, max_dirty = tonumber(ARGV[7]), tonumber(ARGV[8])
local layout, shards = KEYS[12], ARGV[9]
local SAMPLE = 100
local MANY_BATCHES = 16

-- include: tenants

local tenant = tenant_of(packed)

local function cost_of(batch)
  local head = string.byte(batch, 1) or 0
  local events = head - 0x90
  if head == 0xdc and #batch > 3 then
    events = string.byte(batch, 2) * 256 + string.byte(batch, 3)
  end
  return #batch + Limit.EVENT_COST * math.max(events, 1)
end

-- Whether batches are ready and no worker has taken any for too long. A name without a batch, which nothing would ever
-- take away while the shard is closed, must not close it.
local function waits_too_long()
  local oldest = redis.call('ZRANGE', ready, 0, 0)[1]
  while oldest do
    if redis.call('HEXISTS', journal, oldest) == 1 then
      local since = tonumber(redis.call('ZSCORE', journal_index, oldest) or now)
      local taken = tonumber(redis.call('HGET', turns, '@taken') or '0')
      return tonumber(now) - math.max(since, taken) > max_age
    end
    redis.call('ZREM', ready, oldest)
    oldest = redis.call('ZRANGE', ready, 0, 0)[1]
  end
  return false
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
-- A key that holds another application's value fails here, before anything is written.
redis.call('HLEN', journal)
redis.call('ZCARD', journal_index)
redis.call('ZCARD', journal_due)
local bytes = tonumber(redis.call('GET', journal_bytes) or '0') + tonumber(redis.call('GET', log_bytes) or '0')
if bytes <= 0 then -- what a former release dropped it did not take off
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
if redis.call('HSETNX', journal, batch_id, packed) == 0 then
  return 2
end

-- Where nothing waits the virtual time may run ahead; at the clock's time it never falls behind what a former release wrote.
local virtual = tonumber(redis.call('HGET', turns, '@virtual') or '0')
if redis.call('EXISTS', ready) == 0 and virtual < tonumber(now) then
  virtual = tonumber(now)
  redis.call('HSET', turns, '@virtual', now)
end
local ends = tonumber(redis.call('HGET', turns, tenant) or '0')
local turn = math.max(virtual, ends)
local is_next = ends <= virtual and redis.call('ZCARD', ready) >= MANY_BATCHES
redis.call('HSET', turns, tenant, string.format('%.0f', turn + cost_of(packed)))
redis.call('ZADD', ready, string.format('%.0f', turn), batch_id)
redis.call('ZADD', journal_index, now, batch_id)
redis.call('ZADD', journal_due, due, batch_id)
redis.call('INCRBY', journal_bytes, #packed)
redis.call('HINCRBY', held, tenant, #packed)
local was_silent = redis.call('SET', bell, '1', 'NX', 'PX', bell_ttl)
return (was_silent or is_next) and 1 or 2
