--[[
Part of the scripts that look since when a shard's entries wait for a worker.

DEFINES time_of, unread_since
]]
local function time_of(id)
  return tonumber(string.match(id, '^%d+'))
end

-- The last entry of a stream that a worker was given.
local function delivered(stream)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, group in ipairs(groups) do
    local told = {}
    for at = 1, #group, 2 do
      told[group[at]] = group[at + 1]
    end
    if told.name == Text.GROUP then
      return told['last-delivered-id']
    end
  end
  return '0-0'
end

-- When the oldest entry was accepted that no worker was given yet; nil where there is none.
local function unread_since()
  local since
  for index = 1, Limit.FAIR_STREAMS do
    local stream = streams[index]
    if redis.call('XLEN', stream) > 0 then
      local first = redis.call('XRANGE', stream, '(' .. delivered(stream), '+', 'COUNT', 1)[1]
      if first then
        since = math.min(since or math.huge, time_of(first[1]))
      end
    end
  end
  return since
end
