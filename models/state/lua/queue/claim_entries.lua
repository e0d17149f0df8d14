--[[
Hands a worker entries of a shard that were given to one before and did not leave their stream: it was killed, or could not
apply them. Each waits twice as long before it is given again as it did before, up to a limit. From the third time on it is
given alone, for it may be to blame; how often it was given is the stream's own count.

KEYS[1...] streams    stream  the shard's queue, see apply/entries.lua

ARGV[1] wait          int     milliseconds before an entry is given for the second time
ARGV[2] longest_wait  int     milliseconds
ARGV[3] most          int     entries
ARGV[4] most_bytes    int     stop after the entry that passes this

RETURNS array of {name, packed, how often it was given with this time, 1 where it is to be tried alone}
]]
assert(#KEYS == Limit.STREAMS and #ARGV == 4)
local streams, wait, longest_wait = KEYS, tonumber(ARGV[1]), tonumber(ARGV[2])
local most, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local LOOKED_AT = 1000

local function is_due(idle, given)
  return idle >= math.min(wait * 2 ^ math.min(given - 1, 30), longest_wait)
end

-- Each look begins with a stream by chance: what fails for long in one must not take all that a look gives.
local claimed, bytes, first = {}, 0, tonumber(redis.call('TIME')[2])
for turn = 1, Limit.STREAMS do
  local index = (first + turn) % Limit.STREAMS + 1
  local stream = streams[index]
  local pending = redis.pcall('XPENDING', stream, Text.GROUP, 'IDLE', ARGV[1], '-', '+', LOOKED_AT)
  for _, row in ipairs(pending) do -- none where the stream or its group is missing
    local id, idle, given = row[1], row[3], row[4]
    if #claimed < most and bytes < most_bytes and is_due(idle, given) then
      local entry = redis.call('XCLAIM', stream, Text.GROUP, Text.GROUP, wait, id)[1]
      if entry then
        local is_alone = index == Limit.STREAMS or given >= Limit.TOGETHER
        claimed[#claimed + 1] = { (index - 1) .. ':' .. id, entry[2][2], given + 1, is_alone and 1 or 0 }
        bytes = bytes + #entry[2][2]
      end
    end
  end
end
return claimed
