--[[
Loads cold users' records with what PostgreSQL knows, each only if nobody has since: the token that apply_events.lua
gave out must still stand in the record. So a slow reader can never put back an older state (promise P7).

KEYS[1] stamp         int      the shard's counter of changes
KEYS[2...] for each user:
        record        hash
        seen_now      set      event ids of this dedup generation

ARGV[1] users         msgpack  array of {token, tenant_id, user_id, stamp_floor, {hash, ...}, {field, packed row, ...}}:
                               the highest stamp among the rows, and the identity hashes of the user's recent events
ARGV[2] generation    int      the dedup generation of seen_now
ARGV[3] seen_ttl      int      milliseconds

RETURNS number of records loaded; the others have moved on
]]
assert(#KEYS >= 3 and #KEYS % 2 == 1 and #ARGV == 3)
local stamp, users, generation, seen_ttl = KEYS[1], cmsgpack.unpack(ARGV[1]), ARGV[2], ARGV[3]
assert(#users == (#KEYS - 1) / 2)
local FIRST_USER_KEY, KEYS_PER_USER, CHUNK = 2, 2, 1000

local function in_chunks(command, key, arguments)
  for first = 1, #arguments, CHUNK do
    redis.call(command, key, unpack(arguments, first, math.min(first + CHUNK - 1, #arguments)))
  end
end

local loaded, highest = 0, 0
for index, user in ipairs(users) do
  local base = FIRST_USER_KEY + (index - 1) * KEYS_PER_USER
  local record, seen_now = KEYS[base], KEYS[base + 1]
  local token, tenant_id, user_id, stamp_floor, hashes, rows = unpack(user)
  if redis.pcall('HGET', record, '@loaded') == token then -- an error where the key holds something else now
    local flushed = string.format('%.0f', stamp_floor)
    redis.call('HSET', record, '@loaded', '1', '@tenant', tenant_id, '@user', user_id, '@flushed', flushed)
    in_chunks('HSET', record, rows)
    if #hashes > 0 then
      in_chunks('SADD', seen_now, hashes)
      redis.call('PEXPIRE', seen_now, seen_ttl)
      redis.call('HSET', record, '@seen', generation)
    end
    loaded, highest = loaded + 1, math.max(highest, stamp_floor)
  end
end
-- A shard whose counter is missing or behind (SHARDS was changed) must not draw stamps that PostgreSQL would refuse.
if tonumber(redis.call('GET', stamp) or '0') < highest then
  redis.call('SET', stamp, string.format('%.0f', highest))
end
return loaded
