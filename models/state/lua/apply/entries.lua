--[[
Part of apply_events.lua and of other scripts: the entries of a shard's queue, which is five streams with one consumer
group each. An entry is named <stream>:<id>, and leaves its stream when what it stands for is done.

A batch goes to one of the first four streams by what its tenant has waiting in the shard: a worker reads as much of each
of them, so who has little there does not wait behind who has much. The fifth is for events that are tried alone; nothing
reads it but claim_entries.lua.

DEFINES stream_of, id_of, add, take_out
]]
local function stream_of(name)
  return streams[(tonumber(string.match(name, '^(%d):')) or -1) + 1]
end

local function id_of(name)
  return string.match(name, ':(.*)$')
end

-- Adds an entry to a stream, and counts it; its id. It is of a time (ms), unless that is before what the stream has.
local function add(stream, time, packed)
  local id = redis.pcall('XADD', stream, time .. '-*', 'b', packed)
  if type(id) == 'table' then
    id = redis.call('XADD', stream, '*', 'b', packed)
  end
  local tenant = tenant_of(packed)
  redis.call('INCRBY', journal_bytes, #packed)
  redis.call('HINCRBY', held, tenant, #packed)
  redis.call('HINCRBY', waiting, tenant, cost_of(packed))
  return id
end

-- Takes an entry out, and its bytes off what is counted; false where it has left before.
local function take_out(name)
  local stream, id = stream_of(name), id_of(name)
  local found = stream and redis.call('XRANGE', stream, id, id)[1]
  if not found then
    return false
  end
  redis.call('XACK', stream, Text.GROUP, id)
  redis.call('XDEL', stream, id)
  local packed = found[2][2]
  local tenant = tenant_of(packed)
  redis.call('DECRBY', journal_bytes, #packed)
  let_go(held, tenant, #packed)
  let_go(waiting, tenant, cost_of(packed))
  return true
end
