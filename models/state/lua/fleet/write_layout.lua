--[[
Notes with a shard by how many shards Redis is laid out, unless a later revision of the installation's record has said
so. Receivers append by this number only, so that one which still goes by another cannot put users where they are not.

KEYS[1] layout      hash    revision, shards

ARGV[1] revision    int     of the installation's record
ARGV[2] shards      int     0 while nothing may be appended

RETURNS 1 noted, 0 a later revision has been
]]
assert(#KEYS == 1 and #ARGV == 2)
local layout, revision, shards = KEYS[1], tonumber(ARGV[1]), ARGV[2]

if tonumber(redis.call('HGET', layout, 'revision') or '-1') > revision then
  return 0
end
redis.call('HSET', layout, 'revision', ARGV[1], 'shards', shards)
return 1
