--[[
Loads a cold user's record with what PostgreSQL knows, if nobody has since: the token that apply_events.lua gave out
must still stand in the record. So a slow reader can never put back an older state (promise P7).

KEYS[1] record       hash
KEYS[2] seen_now     set     event ids of this dedup generation
KEYS[3] stamp        int     the shard's counter of changes

ARGV[1] token        string
ARGV[2] tenant_id    string
ARGV[3] user_id      string
ARGV[4] seen_ttl     int     milliseconds
ARGV[5] generation   int     the dedup generation of seen_now
ARGV[6] stamp_floor  int     the highest stamp among the rows; new stamps must be above it
ARGV[7] hashes       msgpack identity hashes of the user's recent events
ARGV[8...]           field, packed row, for each row

RETURNS 1 loaded, 0 refused: the record has moved on
]]
assert(#KEYS == 3 and #ARGV >= 7 and #ARGV % 2 == 1)
local record, seen_now, stamp = KEYS[1], KEYS[2], KEYS[3]
local token, tenant_id, user_id = ARGV[1], ARGV[2], ARGV[3]
local seen_ttl, generation, stamp_floor, hashes = ARGV[4], ARGV[5], tonumber(ARGV[6]), cmsgpack.unpack(ARGV[7])
local FIRST_ROW, CHUNK = 8, 1000

if redis.call('HGET', record, '@loaded') ~= token then
  return 0
end
redis.call('HSET', record, '@loaded', '1', '@tenant', tenant_id, '@user', user_id, '@flushed', ARGV[6])
for first = FIRST_ROW, #ARGV, CHUNK do
  redis.call('HSET', record, unpack(ARGV, first, math.min(first + CHUNK - 1, #ARGV)))
end
for first = 1, #hashes, CHUNK do
  redis.call('SADD', seen_now, unpack(hashes, first, math.min(first + CHUNK - 1, #hashes)))
end
if #hashes > 0 then
  redis.call('PEXPIRE', seen_now, seen_ttl)
  redis.call('HSET', record, '@seen', generation)
end
-- A shard whose counter is missing or behind (SHARDS was changed) must not draw stamps that PostgreSQL would refuse.
if tonumber(redis.call('GET', stamp) or '0') < stamp_floor then
  redis.call('SET', stamp, ARGV[6])
end
return 1
