--[[
Writes one accepted batch to its shard's journal, unless the shard holds too much that PostgreSQL does not have: the
journal grows while workers are behind, the log while PostgreSQL is.

KEYS[1] journal         hash    batch id -> packed batch
KEYS[2] journal_index   zset    batch id by time of acceptance
KEYS[3] journal_due     zset    batch id by the time from which the sweep may publish it again
KEYS[4] journal_bytes   int     bytes of all packed batches in the journal
KEYS[5] log_bytes       int     bytes of all applied batches in the log

ARGV[1] batch_id        string
ARGV[2] packed          bytes   the batch
ARGV[3] now             int     milliseconds since the epoch
ARGV[4] due             int     milliseconds since the epoch
ARGV[5] max_bytes       int     the bound

RETURNS 1 written (or there already), 0 the shard is at its bound
]]
assert(#KEYS == 5 and #ARGV == 5)
local journal, journal_index, journal_due, journal_bytes, log_bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local batch_id, packed, now, due, max_bytes = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local held = tonumber(redis.call('GET', journal_bytes) or '0') + tonumber(redis.call('GET', log_bytes) or '0')
if held + #packed > max_bytes then
  return 0
end
if redis.call('HSETNX', journal, batch_id, packed) == 1 then
  redis.call('ZADD', journal_index, now, batch_id)
  redis.call('ZADD', journal_due, due, batch_id)
  redis.call('INCRBY', journal_bytes, #packed)
end
return 1
