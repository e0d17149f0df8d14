--[[
Ends a reset: the shard begins a new epoch, in step with PostgreSQL, and its counter is above everything flushed. Its
fence may be older than the rules: it goes, and is filled from PostgreSQL before anything is applied.

KEYS[1] history     hash    see models/state/fleet/histories.py
KEYS[2] record_version       int     the shard's counter of changes
KEYS[3] fence       string  see models/state/fleet/fences.py

ARGV[1] reset       string  the reset that closed the shard
ARGV[2] epoch       string  of the new history
ARGV[3] number      int     PostgreSQL's last flush
ARGV[4] token       string  of it
ARGV[5] events      int     how many events all flushes wrote
ARGV[6] version     int     no row in PostgreSQL has a higher one

RETURNS 1 open, 0 another reset has taken over, or Redis went back again
]]
assert(#KEYS == 3 and #ARGV == 6)
local history, record_version, reset, epoch, number = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local token, events, version = ARGV[4], ARGV[5], ARGV[6]

if redis.call('HGET', history, 'closed') ~= reset then
  return 0
end
if tonumber(redis.call('GET', record_version) or '0') < tonumber(version) then
  redis.call('SET', record_version, version)
end
redis.call('DEL', KEYS[3])
redis.call('HSET', history, 'epoch', epoch, 'number', number, 'token', token, 'events', events)
redis.call('HDEL', history, 'closed', 'behind', 'next_number', 'next_token', 'next_events')
return 1
