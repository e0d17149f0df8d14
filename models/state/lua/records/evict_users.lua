--[[
Takes records out of Redis together with their sets of event ids, each only if PostgreSQL has all of it: the user is not
dirty, the record is not being loaded, and no entry of the log tells of the user's last change. Then the next event loads
both again, so nothing counts twice. It frees memory where none is left: none of its commands needs any.

KEYS[1] dirty        zset
KEYS[2] log          stream
KEYS[3...] for each user:
        record       hash
        seen         set     event ids of the user's newest dedup bucket
        seen_before  set     of the one before

ARGV[1] users        msgpack array of Candidate (models/wire.py), in the order of KEYS

RETURNS number of records taken out
]]
assert(#KEYS >= 5 and #KEYS % 3 == 2 and #ARGV == 1)
local dirty, log, users = KEYS[1], KEYS[2], cmsgpack.unpack(ARGV[1])
assert(#users == (#KEYS - 2) / 3)
local FIRST_USER_KEY, KEYS_PER_USER = 3, 3

-- The version of the oldest entry that PostgreSQL may lack; nil where it has them all.
local function unflushed_from()
  local entry = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  for index = 1, entry and #entry[2] or 0, 2 do
    if entry[2][index] == 'stamp' then
      return tonumber(entry[2][index + 1])
    end
  end
  return entry and 0 or nil
end

local oldest, evicted = unflushed_from(), 0
for index, user in ipairs(users) do
  local base = FIRST_USER_KEY + (index - 1) * KEYS_PER_USER
  local record, member, seen, seen_before =
    KEYS[base], user[Candidate.member], user[Candidate.seen], user[Candidate.seen_before]
  local read = redis.call('HMGET', record, '@loaded', '@dirty', '@seen', '@seen_before', '@flushed', '@noted')
  local is_loaded = read[1] and string.sub(read[1], 1, 1) ~= '?'
  local is_same = (read[3] or '') == seen and (read[4] or '') == seen_before
  local newest = math.max(tonumber(read[5] or '0'), tonumber(read[6] or '0'))
  local is_flushed = not read[2] and not redis.call('ZSCORE', dirty, member) and (not oldest or newest < oldest)
  if is_loaded and is_same and is_flushed then
    redis.call('DEL', record, KEYS[base + 1], KEYS[base + 2])
    evicted = evicted + 1
  end
end
return evicted
