--[[
A worker begins to apply a batch that nobody has ready any more: somebody took it before, and did not drop it. Each such
try is counted before it is made, for the event that ends its process tells nobody afterwards. A try has a name, so that
one whose answer was lost, and that asks again, is counted once.

KEYS[1] journal    hash
KEYS[2] ready      zset
KEYS[3] tries      hash     fields tries and try:<name>, see models/state/queue/attempts.py

ARGV[1] batch_id   string
ARGV[2] ttl        int      milliseconds that tries are remembered
ARGV[3] name       string   of this try

RETURNS -2 it was tried and has left the journal: applied, split or dead-lettered; -1 it is ready: nobody has tried it, or a worker left it behind once and the
        sweep made it ready again, which counts no try;
        0 the journal has lost it; else the number of tries, with this one
]]
assert(#KEYS == 3 and #ARGV == 3)
local journal, ready, tries, batch_id, ttl, name = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3]

local is_ready = redis.call('ZSCORE', ready, batch_id)
if is_ready then
  return -1
end
if redis.call('HEXISTS', journal, batch_id) == 0 then
  return redis.call('EXISTS', tries) == 1 and -2 or 0
end
local is_new = redis.call('HSETNX', tries, 'try:' .. name, 1)
local counted = redis.call('HINCRBY', tries, 'tries', is_new)
redis.call('PEXPIRE', tries, ttl)
return counted
