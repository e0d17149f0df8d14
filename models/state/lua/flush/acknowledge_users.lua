--[[
Acknowledges what PostgreSQL has committed: a user that has not changed since it was read leaves the dirty set, and the
rows of past periods leave its record; one that has changed stays dirty and only remembers how far it was flushed.

KEYS[1] dirty        zset
KEYS[2] history      hash    see models/state/fleet/histories.py
KEYS[3...] record    hash    for each user

ARGV[1] record_ttl   int     milliseconds a clean record is kept
ARGV[2] read_at      int     microseconds since the epoch; what a user changed later is unflushed since then
ARGV[3] users        msgpack array of Flushed (models/wire.py), in the order of KEYS
ARGV[4] token        string  of the flush that committed it; a Redis that does not know it went back in time

RETURNS number of users that are clean now
]]
assert(#KEYS >= 3 and #ARGV == 4)
local dirty, history, record_ttl, read_at = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local users, token, FIRST = cmsgpack.unpack(ARGV[3]), ARGV[4], 3
assert(#users == #KEYS - FIRST + 1)

-- include: history

if (redis.call('HGET', history, 'token') or '') ~= token then
  return 0
end

local acknowledged = 0
for index, user in ipairs(users) do
  local record, member, record_version = KEYS[FIRST + index - 1], user[Flushed.member], user[Flushed.record_version]
  local current = tonumber(redis.call('ZSCORE', dirty, member) or '0')
  -- An evicted record must not come to be again by halves; a key that holds something else is left as it is.
  local is_loaded = redis.pcall('HGET', record, '@loaded') == epoch
  if current == record_version then
    redis.call('ZREM', dirty, member)
    acknowledged = acknowledged + 1
    if is_loaded then
      redis.call('HDEL', record, '@dirty', unpack(user[Flushed.past_fields]))
      redis.call('PEXPIRE', record, record_ttl)
    end
  elseif current > record_version and is_loaded then
    redis.call('HSET', record, '@dirty', read_at)
  end
  if is_loaded then
    redis.call('HSET', record, '@flushed', string.format('%.0f', record_version))
  end
end
return acknowledged
