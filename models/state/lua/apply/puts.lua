--[[
Part of the scripts that put batches into a shard's queue.

DEFINES put
]]
-- Adds a batch to the stream of those who have about as much waiting as its tenant; its name.
local function put(packed, now)
  local ahead = tonumber(redis.call('HGET', waiting, tenant_of(packed)) or '0')
  local index, most = 1, Limit.LIGHT
  while index < Limit.FAIR_STREAMS and ahead > most do
    index, most = index + 1, most * Limit.HEAVIER
  end
  return (index - 1) .. ':' .. add(streams[index], now, packed)
end
