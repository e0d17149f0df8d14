--[[
Writes one accepted batch to its shard's journal, unless the shard is at one of its three bounds:
- bytes: the journal grows while workers are behind, the log while PostgreSQL is;
- age: a batch has been ready for too long, so no worker takes any. A batch that a worker took and that waits for its
  next attempt is not ready: it does not close the shard for others;
- users with changes that PostgreSQL lacks. Batches that are already in the journal may still add to them, within the
  bound on bytes.
Rings the shard's bell: only who finds it silent must publish a message, for the worker that comes takes all that is
ready.

KEYS[1] journal         hash    batch id -> packed batch
KEYS[2] journal_index   zset    batch id by time of acceptance
KEYS[3] journal_due     zset    batch id by the time from which the sweep may publish it again
KEYS[4] journal_bytes   int     bytes of all packed batches in the journal
KEYS[5] log_bytes       int     bytes of all applied batches, unlocks and evaluations in the log
KEYS[6] ready           zset    batch id by the time since when it is ready, until a worker takes it
KEYS[7] bell            string  a message is on its way to a worker, or a worker is at it
KEYS[8] dirty           zset    users with changes that PostgreSQL lacks

ARGV[1] batch_id        string
ARGV[2] packed          bytes   the batch
ARGV[3] now             int     milliseconds since the epoch
ARGV[4] due             int     milliseconds since the epoch
ARGV[5] max_bytes       int
ARGV[6] bell_ttl        int     milliseconds after which a message counts as lost
ARGV[7] max_age         int     milliseconds
ARGV[8] max_dirty       int     users

RETURNS 1 written and the bell was silent, 2 written (or there already), or which bound the shard is at: -1 bytes, -2 age,
        -3 users
]]
assert(#KEYS == 8 and #ARGV == 8)
local journal, journal_index, journal_due, journal_bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local log_bytes, ready, bell, dirty = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local batch_id, packed, now, due = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_bytes, bell_ttl = tonumber(ARGV[5]), ARGV[6]
local max_age, max_dirty = tonumber(ARGV[7]), tonumber(ARGV[8])

-- Whether no worker has taken the oldest ready batch for too long. A name without a batch, which nothing would ever
-- take away while the shard is closed, must not close it.
local function waits_too_long()
  local oldest = redis.call('ZRANGE', ready, 0, 0, 'WITHSCORES')
  while #oldest > 0 and tonumber(now) - tonumber(oldest[2]) > max_age do
    if redis.call('HEXISTS', journal, oldest[1]) == 1 then
      return true
    end
    redis.call('ZREM', ready, oldest[1])
    oldest = redis.call('ZRANGE', ready, 0, 0, 'WITHSCORES')
  end
  return false
end

local held = tonumber(redis.call('GET', journal_bytes) or '0') + tonumber(redis.call('GET', log_bytes) or '0')
if held + #packed > max_bytes then
  return -1
end
if waits_too_long() then
  return -2
end
if redis.call('ZCARD', dirty) >= max_dirty then
  return -3
end
if redis.call('HSETNX', journal, batch_id, packed) == 0 then
  return 2
end
redis.call('ZADD', journal_index, now, batch_id)
redis.call('ZADD', journal_due, due, batch_id)
redis.call('ZADD', ready, now, batch_id)
redis.call('INCRBY', journal_bytes, #packed)
local was_silent = redis.call('SET', bell, '1', 'NX', 'PX', bell_ttl)
return was_silent and 1 or 2
