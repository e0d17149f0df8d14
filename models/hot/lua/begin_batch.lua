--[[
A worker begins to apply a batch that nobody has ready any more: somebody took it before, and did not drop it. Each such
try is counted before it is made, for the event that ends its process tells nobody afterwards.

KEYS[1] journal    hash
KEYS[2] ready      zset
KEYS[3] tries      hash     field tries, see models/hot/tries.py

ARGV[1] batch_id   string
ARGV[2] ttl        int      milliseconds that tries are remembered

RETURNS -2 it was tried and has left the journal: applied, split or buried; -1 it is ready: nobody has tried it;
        0 the journal has lost it; else the number of this try
]]
assert(#KEYS == 3 and #ARGV == 2)
local journal, ready, tries, batch_id, ttl = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]

local is_ready = redis.call('ZSCORE', ready, batch_id)
if is_ready then
  return -1
end
if redis.call('HEXISTS', journal, batch_id) == 0 then
  return redis.call('EXISTS', tries) == 1 and -2 or 0
end
local try = redis.call('HINCRBY', tries, 'tries', 1)
redis.call('PEXPIRE', tries, ttl)
return try
