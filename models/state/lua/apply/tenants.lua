--[[
Part of apply_events.lua and of other scripts: whose a batch is, and how much each tenant holds of a shard. A batch is of
one tenant; one that a former release accepted may be mixed, and counts as its first event's.

DEFINES tenant_of, cost_of, let_go
]]
-- The text that msgpack has at a position, and the position after it; nil where there is no text.
local function text_at(packed, at)
  local head = string.byte(packed, at) or 0
  local length, first = head - 0xa0, at + 1
  if head == 0xd9 then
    length, first = string.byte(packed, at + 1), at + 2
  elseif head == 0xda then
    local high, low = string.byte(packed, at + 1, at + 2)
    length, first = low and high * 256 + low, at + 3
  elseif head < 0xa0 or head > 0xbf then
    length = nil
  end
  if length then
    return string.sub(packed, first, first + length - 1), first + length
  end
end

-- The tenant of the first event of a packed batch (models/events.py), '?' where it cannot be read. Read by hand: unpacking
-- would build every event.
local function tenant_of(packed)
  local head = string.byte(packed, 1) or 0
  local at = head == 0xdc and 5 or head == 0xdd and 7 or 3 -- behind the heads of the batch and of its first event
  for _ = 1, 2 do
    local _, after = text_at(packed, at)
    if not after then
      return '?'
    end
    at = after
  end
  local tenant = text_at(packed, at)
  return tenant and string.find(tenant, '^[%w._-]+$') and tenant or '?'
end

-- What a batch is counted as while it waits: its bytes, and what each event costs beside them. The events are counted by
-- the head of the msgpack array.
local function cost_of(packed)
  local head = string.byte(packed, 1) or 0
  local events = head - 0x90
  if head == 0xdc and #packed > 3 then
    events = string.byte(packed, 2) * 256 + string.byte(packed, 3)
  end
  return #packed + Limit.EVENT_COST * math.max(events, 1)
end

-- Takes bytes off what a tenant holds. What a former release accepted was never counted, so nothing falls below zero.
local function let_go(held, tenant, bytes)
  if redis.call('HINCRBY', held, tenant, string.format('%d', -bytes)) <= 0 then
    redis.call('HDEL', held, tenant)
  end
end
