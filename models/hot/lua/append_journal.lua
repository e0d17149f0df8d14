--[[
Writes one accepted batch to its shard's journal, unless the shard holds too much that PostgreSQL does not have: the
journal grows while workers are behind, the log while PostgreSQL is. Rings the shard's bell: only who finds it silent
must publish a message, for the worker that comes takes all that is ready.

KEYS[1] journal         hash    batch id -> packed batch
KEYS[2] journal_index   zset    batch id by time of acceptance
KEYS[3] journal_due     zset    batch id by the time from which the sweep may publish it again
KEYS[4] journal_bytes   int     bytes of all packed batches in the journal
KEYS[5] log_bytes       int     bytes of all applied batches in the log
KEYS[6] ready           zset    batch id by time of acceptance, until a worker takes it
KEYS[7] bell            string  a message is on its way to a worker, or a worker is at it

ARGV[1] batch_id        string
ARGV[2] packed          bytes   the batch
ARGV[3] now             int     milliseconds since the epoch
ARGV[4] due             int     milliseconds since the epoch
ARGV[5] max_bytes       int     the bound
ARGV[6] bell_ttl        int     milliseconds after which a message counts as lost

RETURNS 0 the shard is at its bound, 1 written and the bell was silent, 2 written (or there already)
]]
assert(#KEYS == 7 and #ARGV == 6)
local journal, journal_index, journal_due, journal_bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local log_bytes, ready, bell = KEYS[5], KEYS[6], KEYS[7]
local batch_id, packed, now, due = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_bytes, bell_ttl = tonumber(ARGV[5]), ARGV[6]

local held = tonumber(redis.call('GET', journal_bytes) or '0') + tonumber(redis.call('GET', log_bytes) or '0')
if held + #packed > max_bytes then
  return 0
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
