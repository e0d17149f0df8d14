--[[
Hands a worker the batches of a shard that are ready, oldest first. They stay in the journal until they are applied; the
worker that took them is the only one at them, until the sweep finds that they wait too long. When none is left the
bell falls silent, so that the next batch brings a new message.

KEYS[1] journal        hash
KEYS[2] ready          zset
KEYS[3] bell           string
KEYS[4] journal_due    zset

ARGV[1] max_batches    int
ARGV[2] max_bytes      int     stop after the batch that passes this
ARGV[3] due            int     milliseconds since the epoch from which the sweep may think the worker dead

RETURNS {batches left, {batch_id, packed, batch_id, packed, ...}}
]]
assert(#KEYS == 4 and #ARGV == 3)
local journal, ready, bell, journal_due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local max_batches, max_bytes, due = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

local taken, bytes = {}, 0
while #taken < 2 * max_batches and bytes < max_bytes do
  local popped = redis.call('ZPOPMIN', ready)
  if #popped == 0 then
    break
  end
  local packed = redis.call('HGET', journal, popped[1])
  if packed then
    taken[#taken + 1], taken[#taken + 2] = popped[1], packed
    redis.call('ZADD', journal_due, due, popped[1])
    bytes = bytes + #packed
  end
end
local left = redis.call('ZCARD', ready)
if left == 0 then
  redis.call('DEL', bell)
end
return { left, taken }
