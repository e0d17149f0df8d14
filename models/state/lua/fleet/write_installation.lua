--[[
Writes the installation's record into Redis, unless Redis has a newer one of it, or one of another installation. A
provisional record, of revision 0, gives way to any other.

KEYS[1] installation   hash     id, revision, record

ARGV[1] id             string
ARGV[2] revision       int
ARGV[3] record         string   JSON, see models/fleet/installation.py

RETURNS the record that Redis holds now
]]
assert(#KEYS == 1 and #ARGV == 3)
local installation, id, revision, record = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]

local known_id, known_revision, known = unpack(redis.call('HMGET', installation, 'id', 'revision', 'record'))
local at = tonumber(known_revision or '-1')
if known and ((at > 0 and known_id ~= id) or at >= revision) then
  return known
end
redis.call('HSET', installation, 'id', id, 'revision', ARGV[2], 'record', record)
return record
