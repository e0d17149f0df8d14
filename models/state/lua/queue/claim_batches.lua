--[[
Hands the sweep the batches of a journal that have waited past their due time, and puts their next due time off: twice
as long after each attempt, up to a limit, and up to a quarter longer by chance, so that what fell due together does not
come back together. A due time much further ahead than any of ours was written by a wrong clock, and counts as past.

A batch that is still ready needs no message of its own: one message brings a worker that takes all of them, and while the
queue holds one, none is needed. One that a worker took and left behind is made ready again, once: then a worker that was
killed, or PostgreSQL that was away, cost one message, not one for each batch. From its second attempt on a batch has a
message of its own, apart from the others, for it may be to blame; but not while many messages wait, for copies of them
would only make the queue longer.

KEYS[1] journal            hash
KEYS[2] journal_due        zset
KEYS[3] journal_attempts   hash
KEYS[4] ready              zset     batch id by its turn; one that is made ready again comes first, for it had its turn
KEYS[5] turns              hash     see append_journal.lua

ARGV[1] now                int   milliseconds since the epoch
ARGV[2] wait               int   milliseconds until the first repetition
ARGV[3] longest_wait       int   milliseconds
ARGV[4] limit              int   batches that are due looked at, at most; fewer where they are large
ARGV[5] queued             int   messages in the shard's queue
ARGV[6] seed               int   from 1 to 2^31 - 2, for the spread of due times

RETURNS array of {batch_id, attempts, packed}
]]
assert(#KEYS == 5 and #ARGV == 6)
local journal, journal_due, journal_attempts, ready, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, wait, longest_wait, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local worker_comes, many_wait = tonumber(ARGV[5]) > 0, tonumber(ARGV[5]) > 20
local seed, SPREAD = tonumber(ARGV[6]), 0.25
local MOST_BYTES = 2 * 1024 * 1024 -- handed out by one call, so that it is short
local FROM_AHEAD = 10 -- batches put off by a wrong clock that are looked at beside the limit

-- From 0 to 1; the server's own numbers would be the same in every call. The products stay exact in a double.
local function chance()
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
end

local function claim(batch_id)
  local attempts = redis.call('HINCRBY', journal_attempts, batch_id, 1)
  local pause = math.min(wait * 2 ^ math.min(attempts, 30), longest_wait) * (1 + SPREAD * chance())
  redis.call('ZADD', journal_due, string.format('%.0f', now + pause), batch_id)
  return { batch_id, attempts }
end

local function waiting_between(earliest, latest, most)
  return redis.call('ZRANGEBYSCORE', journal_due, earliest, latest, 'LIMIT', 0, most)
end

local batch_ids = waiting_between('-inf', '(' .. ARGV[1], limit)
-- Nobody puts a batch off for so long: the clock of who did was ahead, and its batches must not wait for ours, nor for
-- those of a shard that always has some that are due.
local from_ahead = string.format('(%.0f', now + wait + 2 * longest_wait)
for _, batch_id in ipairs(waiting_between(from_ahead, '+inf', FROM_AHEAD)) do
  batch_ids[#batch_ids + 1] = batch_id
end

local claimed, bytes = {}, 0

local function hand_out(row)
  row[3] = redis.call('HGET', journal, row[1])
  claimed[#claimed + 1], bytes = row, bytes + #row[3]
end

for _, batch_id in ipairs(batch_ids) do
  local is_ready = redis.call('ZSCORE', ready, batch_id)
  if bytes >= MOST_BYTES then -- the next sweep goes on
    break
  elseif redis.call('HEXISTS', journal, batch_id) == 0 then
    redis.call('ZREM', journal_due, batch_id)
  elseif not is_ready and redis.call('HEXISTS', journal_attempts, batch_id) == 0 then
    local row = claim(batch_id)
    if redis.call('EXISTS', ready) == 0 then -- since when it was accepted it was not ready all the time
      redis.call('HSET', turns, '@taken', ARGV[1])
    end
    redis.call('ZADD', ready, ARGV[1], batch_id)
    if not worker_comes then
      worker_comes = true
      hand_out(row)
    end
  elseif not is_ready then
    if not many_wait then
      hand_out(claim(batch_id))
    end
  elseif not worker_comes then
    worker_comes = true
    hand_out(claim(batch_id))
  end
end
return claimed
