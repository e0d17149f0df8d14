--[[
Tells how full a shard's queue is, and since when it waits for a worker.

KEYS[1] journal_bytes  int
KEYS[2] waiting        hash    see append_journal.lua
KEYS[3] journal        hash    batches of a former release that take_up_journal.lua has not moved yet
KEYS[4...] streams     stream  the shard's queue, see apply/entries.lua

ARGV                           none

RETURNS {batches, bytes, when the oldest was accepted, since when batches wait that no worker was given}: the times in
        milliseconds since the epoch, 0 where there is none
]]
assert(#KEYS == 8 and #ARGV == 0)
local journal_bytes, waiting, journal, streams = KEYS[1], KEYS[2], KEYS[3], { unpack(KEYS, 4) }

-- include: unread

local batches, oldest = redis.call('HLEN', journal), 0
for _, stream in ipairs(streams) do
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if first then
    batches = batches + redis.call('XLEN', stream)
    oldest = oldest == 0 and time_of(first[1]) or math.min(oldest, time_of(first[1]))
  end
end
local since = unread_since()
local waits = since and math.max(since, tonumber(redis.call('HGET', waiting, '@taken') or '0')) or 0
return { batches, tonumber(redis.call('GET', journal_bytes) or '0'), oldest, waits }
