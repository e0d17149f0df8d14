--[[
Hands the sweep those batches of a journal that have waited past their due time, and puts their next due time off:
twice as long after each attempt, up to a limit.

KEYS[1] journal            hash
KEYS[2] journal_due        zset
KEYS[3] journal_attempts   hash

ARGV[1] now                int   milliseconds since the epoch
ARGV[2] before             int   only batches due before this, milliseconds since the epoch
ARGV[3] wait               int   milliseconds until the first repetition
ARGV[4] longest_wait       int   milliseconds
ARGV[5] limit              int   batches at most

RETURNS array of {batch_id, attempts, packed}
]]
assert(#KEYS == 3 and #ARGV == 5)
local journal, journal_due, journal_attempts = KEYS[1], KEYS[2], KEYS[3]
local now, before, wait = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local longest_wait, limit = tonumber(ARGV[4]), ARGV[5]

local claimed = {}
for _, batch_id in ipairs(redis.call('ZRANGEBYSCORE', journal_due, '-inf', '(' .. before, 'LIMIT', 0, limit)) do
  local packed = redis.call('HGET', journal, batch_id)
  if packed then
    local attempts = redis.call('HINCRBY', journal_attempts, batch_id, 1)
    local pause = math.min(wait * 2 ^ math.min(attempts, 30), longest_wait)
    redis.call('ZADD', journal_due, string.format('%.0f', now + pause), batch_id)
    claimed[#claimed + 1] = { batch_id, attempts, packed }
  else
    redis.call('ZREM', journal_due, batch_id)
  end
end
return claimed
