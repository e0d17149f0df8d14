--[[
Tells how full a shard's journal is, and since when it waits for a worker.

KEYS[1] journal         hash
KEYS[2] journal_index   zset    batch id by time of acceptance
KEYS[3] journal_bytes   int
KEYS[4] ready           zset    batch id by its turn
KEYS[5] turns           hash    see append_journal.lua

ARGV                            none

RETURNS {batches, bytes, when the oldest was accepted, since when batches that are ready wait for a worker}: the times in
        milliseconds since the epoch, 0 where there is none
]]
assert(#KEYS == 5 and #ARGV == 0)
local journal, journal_index, journal_bytes, ready, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local oldest = redis.call('ZRANGE', journal_index, 0, 0, 'WITHSCORES')[2] or '0'
local next_one, waiting = redis.call('ZRANGE', ready, 0, 0)[1], 0
if next_one then
  local since = redis.call('ZSCORE', journal_index, next_one) or '0'
  waiting = math.max(tonumber(since), tonumber(redis.call('HGET', turns, '@taken') or '0'))
end
return { redis.call('HLEN', journal), tonumber(redis.call('GET', journal_bytes) or '0'), tonumber(oldest), waiting }
