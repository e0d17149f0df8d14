--[[
Hands a worker the batches of a shard that are ready, in the fair order that append_journal.lua gave them. They stay in
the journal until they are applied; the worker that took them is the only one at them, until the sweep finds that they
wait too long. When none is left the bell falls silent, so that the next batch brings a new message.

KEYS[1] journal        hash
KEYS[2] ready          zset    batch id by its turn
KEYS[3] bell           string
KEYS[4] journal_due    zset
KEYS[5] turns          hash    see append_journal.lua

ARGV[1] max_batches    int
ARGV[2] max_cost       int     stop after the batch that passes this: bytes, and EVENT_COST for each event
ARGV[3] due            int     milliseconds since the epoch from which the sweep may think the worker dead
ARGV[4] now            int     milliseconds since the epoch

RETURNS {batches left, {batch_id, packed, batch_id, packed, ...}}
]]
assert(#KEYS == 5 and #ARGV == 4)
local journal, ready, bell, journal_due, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local max_batches, max_cost, due, now = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local MANY_TURNS, LOOKED_AT = 64, 20

-- The events of a packed batch, by the head of its msgpack array.
local function events_in(packed)
  local head = string.byte(packed, 1) or 0
  if head == 0xdc and #packed > 3 then
    return string.byte(packed, 2) * 256 + string.byte(packed, 3)
  end
  return math.max(head - 0x90, 1)
end

-- A key that holds another application's value fails here, before anything is taken.
redis.call('HLEN', journal)
redis.call('ZCARD', journal_due)
local taken, cost, virtual = {}, 0, nil
while #taken < 2 * max_batches and cost < max_cost do
  local popped = redis.call('ZPOPMIN', ready)
  if #popped == 0 then
    break
  end
  virtual = tonumber(popped[2])
  local packed = redis.call('HGET', journal, popped[1])
  if packed then
    taken[#taken + 1], taken[#taken + 2] = popped[1], packed
    redis.call('ZADD', journal_due, due, popped[1])
    cost = cost + #packed + Limit.EVENT_COST * events_in(packed)
  end
end

local left = redis.call('ZCARD', ready)
if virtual then
  -- What the sweep made ready again stands in front of the virtual time, which never goes back.
  virtual = math.max(virtual, tonumber(redis.call('HGET', turns, '@virtual') or '0'))
  if left == 0 then -- who waits for nothing has no turn to keep
    redis.call('DEL', turns)
  elseif redis.call('HLEN', turns) > MANY_TURNS then
    local some = redis.call('HRANDFIELD', turns, LOOKED_AT, 'WITHVALUES')
    for at = 1, #some, 2 do
      if string.sub(some[at], 1, 1) ~= '@' and tonumber(some[at + 1]) <= virtual then
        redis.call('HDEL', turns, some[at])
      end
    end
  end
  redis.call('HSET', turns, '@virtual', string.format('%.0f', virtual), '@taken', now)
end
if left == 0 then
  redis.call('DEL', bell)
end
return { left, taken }
