--[[
Gives a shard's lease back, unless it has passed on to another worker.

KEYS[1] lease    string   the worker that consumes the shard's queue

ARGV[1] worker   string

RETURNS 1 it is free now, 0 it was not this worker's
]]
assert(#KEYS == 1 and #ARGV == 1)
local lease, worker = KEYS[1], ARGV[1]

if redis.call('GET', lease) ~= worker then
  return 0
end
return redis.call('DEL', lease)
