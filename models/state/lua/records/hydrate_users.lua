--[[
Loads cold users' records with what PostgreSQL knows, each only if that was not done since: the token that apply_events.lua
gave out must still stand in the record. So a slow reader can never put back an older state (promise P7). What is left of the
user in Redis goes first, its ids too: it may be of a history that has ended, and PostgreSQL has all that counts.

KEYS[1] record_version         int      the shard's counter of changes
KEYS[2] history       hash     see models/state/fleet/histories.py
KEYS[3...] for each user:
        record        hash
        seen_before   set      event ids of the dedup bucket before
        seen_now      set      of this one
        seen_after    set      of the next one: another worker's clock may be ahead

ARGV[1] users         msgpack  array of Hydrated (models/wire.py)
ARGV[2] dedup_bucket    int      the dedup bucket of seen_now
ARGV[3] seen_ttl      int      milliseconds

RETURNS number of records loaded; the others have moved on
]]
assert(#KEYS >= 6 and #KEYS % 4 == 2 and #ARGV == 3)
local record_version, history = KEYS[1], KEYS[2]
local users, dedup_bucket, seen_ttl = cmsgpack.unpack(ARGV[1]), ARGV[2], ARGV[3]
local FIRST_USER_KEY, KEYS_PER_USER = 3, 4
assert(#users == (#KEYS - FIRST_USER_KEY + 1) / KEYS_PER_USER)

-- include: history

local function in_chunks(command, key, arguments)
  for first = 1, #arguments, Limit.CHUNK do
    redis.call(command, key, unpack(arguments, first, math.min(first + Limit.CHUNK - 1, #arguments)))
  end
end

local token_start = '?' .. epoch .. '.' -- as in apply_events.lua
local loaded, highest = 0, 0
for index, user in ipairs(users) do
  local base = FIRST_USER_KEY + (index - 1) * KEYS_PER_USER
  local record, seen_before, seen_now, seen_after = unpack(KEYS, base, base + KEYS_PER_USER - 1)
  local token, floor, hashes = user[Hydrated.token], user[Hydrated.floor], user[Hydrated.hashes]
  local is_of_epoch = string.sub(token, 1, #token_start) == token_start
  -- An error where the key holds something else now.
  if is_of_epoch and redis.pcall('HGET', record, '@loaded') == token then
    local lives_ms, flushed = redis.call('PTTL', record), string.format('%.0f', floor)
    redis.call('DEL', record)
    for _, seen in ipairs({ seen_before, seen_now, seen_after }) do
      if redis.call('TYPE', seen).ok == 'set' then -- another application's value is left as it is
        redis.call('DEL', seen)
      end
    end
    redis.call('HSET', record, '@loaded', epoch, '@flushed', flushed)
    redis.call('HSET', record, '@tenant', user[Hydrated.tenant_id], '@user', user[Hydrated.user_id])
    in_chunks('HSET', record, user[Hydrated.rows])
    if lives_ms > 0 then -- as apply_events.lua set it
      redis.call('PEXPIRE', record, lives_ms)
    end
    if #hashes > 0 then
      in_chunks('SADD', seen_now, hashes)
      redis.call('PEXPIRE', seen_now, seen_ttl)
      redis.call('HSET', record, '@seen', dedup_bucket)
    end
    loaded, highest = loaded + 1, math.max(highest, floor)
  end
end
-- A shard whose counter is missing or behind (SHARDS was changed) must not draw versions that PostgreSQL would refuse.
if tonumber(redis.call('GET', record_version) or '0') < highest then
  redis.call('SET', record_version, string.format('%.0f', highest))
end
return loaded
