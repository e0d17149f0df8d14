--[[
Part of every script that trusts users' records: a record is loaded only if its @loaded names the shard's epoch. While
a shard is closed, which a reset does briefly, nothing is applied or loaded (models/state/fleet/histories.py).

DEFINES epoch
]]
local epoch, closed_by = unpack(redis.call('HMGET', history, 'epoch', 'closed'))
epoch = epoch or '1' -- of a shard that was never reset
if closed_by then -- no fault of the events: models/state/connection.py lets them wait
  return redis.error_reply('SHARDCLOSED the shard is being reset')
end
