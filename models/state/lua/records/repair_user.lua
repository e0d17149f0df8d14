--[[
Puts a user's rows instead of those of its record, if no event was applied to the user, and nobody loaded or flushed
it, since the record was looked at. The rows get a new version and the user is marked dirty, so that the next flush
writes them over whatever PostgreSQL has; the ids of recent events are added, so that each still counts once.

KEYS[1] record_version          int      the shard's counter of changes
KEYS[2] dirty          zset     member by version
KEYS[3] record         hash     see models/state/progress/records.py
KEYS[4] seen_before    set      event ids of the dedup bucket before that of ARGV[3]
KEYS[5] seen_now       set      of that bucket
KEYS[6] seen_after     set      of the next one
KEYS[7] history        hash     see models/state/fleet/histories.py

ARGV[1] expected_state    msgpack  {epoch, @loaded, @flushed, score among the dirty, sizes of the three sets of ids}, as texts
ARGV[2] user           msgpack  Repaired (models/wire.py)
ARGV[3] dedup_bucket     int      the dedup bucket of now
ARGV[4] seen_ttl       int      milliseconds
ARGV[5] record_ttl     int      milliseconds, for a user who is to have no rows, so nothing to flush
ARGV[6] now            int      microseconds since the epoch

RETURNS 1 put in place, 0 the user has changed since, or a key holds another application's value
]]
assert(#KEYS == 7 and #ARGV == 6)
local version_key, dirty, record, sets, history = KEYS[1], KEYS[2], KEYS[3], { KEYS[4], KEYS[5], KEYS[6] }, KEYS[7]
local expected_state, user = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
local dedup_bucket, seen_ttl, record_ttl, now = tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local member, floor = user[Repaired.member], user[Repaired.floor]
local hashes, rows = user[Repaired.hashes], user[Repaired.rows]

-- include: history

local function in_chunks(command, key, arguments)
  for first = 1, #arguments, Limit.CHUNK do
    redis.call(command, key, unpack(arguments, first, math.min(first + Limit.CHUNK - 1, #arguments)))
  end
end

for _, key in ipairs({ record, unpack(sets) }) do
  local found, wanted = redis.call('TYPE', key).ok, key == record and 'hash' or 'set'
  if found ~= 'none' and found ~= wanted then -- another application's value is left as it is
    return 0
  end
end
local flushed, score = redis.call('HGET', record, '@flushed'), redis.call('ZSCORE', dirty, member)
local found_state = {
  epoch,
  redis.call('HGET', record, '@loaded') or '',
  flushed or '',
  score and string.format('%.0f', tonumber(score)) or '',
}
for index, key in ipairs(sets) do
  found_state[4 + index] = tostring(redis.call('SCARD', key))
end
for index, value in ipairs(found_state) do
  if value ~= expected_state[index] then
    return 0
  end
end

if found_state[2] ~= epoch then -- nothing of a history that has ended may stay, ids neither
  redis.call('DEL', record, unpack(sets))
end

local record_version = redis.call('INCR', version_key)
if record_version == 1 then -- a new counter, or Redis lost the old one
  local time = redis.call('TIME')
  record_version = time[1] * 1000000 + time[2]
end
record_version = math.max(record_version, floor + 1, tonumber(flushed or '0') + 1)
local version_text = string.format('%016.0f', record_version)
redis.call('SET', version_key, string.format('%.0f', record_version))

local stale = {}
for _, field in ipairs(redis.call('HKEYS', record)) do
  if string.find(field, Text.MARK, 1, true) then
    stale[#stale + 1] = field
  end
end
in_chunks('HDEL', record, stale)
for index = 2, #rows, 2 do
  rows[index][Row.record_version] = record_version
  rows[index] = version_text .. cmsgpack.pack(rows[index])
end
in_chunks('HSET', record, rows)
redis.call('HSET', record, '@loaded', epoch, '@tenant', user[Repaired.tenant_id], '@user', user[Repaired.user_id])
redis.call('HSETNX', record, '@flushed', string.format('%.0f', floor))
if #rows > 0 then
  redis.call('HSETNX', record, '@dirty', now)
  redis.call('PERSIST', record)
  redis.call('ZADD', dirty, version_text, member)
else
  redis.call('HDEL', record, '@dirty')
  redis.call('PEXPIRE', record, record_ttl)
  redis.call('ZREM', dirty, member)
end

local seen = tonumber(redis.call('HGET', record, '@seen') or nil)
local at = math.max(dedup_bucket, seen or dedup_bucket) -- a clock that is behind follows the record
if at > dedup_bucket + 1 then -- no fault of the events: models/state/connection.py lets them wait
  error(redis.error_reply('CLOCKWRONG the clock is behind by more than a dedup window'))
end
if #hashes > 0 then
  in_chunks('SADD', sets[2 + at - dedup_bucket], hashes)
  if at ~= seen then
    redis.call('PEXPIRE', sets[2 + at - dedup_bucket], seen_ttl)
    redis.call('HSET', record, '@seen', at)
    if seen then
      redis.call('HSET', record, '@seen_before', seen)
    end
  end
end
return 1
