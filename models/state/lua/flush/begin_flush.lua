--[[
Notes that a flush of a shard is about to be committed. It is called while the flush holds the shard's row in PostgreSQL,
and refuses where what the flush has read is not in this Redis, or where PostgreSQL's last flush is not known to it.

KEYS[1] history    hash    see models/state/fleet/histories.py
KEYS[2] trace      int     how many reads the flush has made
KEYS[3] fence      string  see models/state/fleet/fences.py

ARGV[1] token      string  of the flush
ARGV[2] reads      int     how many it has made by its own count
ARGV[3] found_number  int     PostgreSQL's last flush; 0 where there is none
ARGV[4] found_token   string  of it; empty where there is none
ARGV[5] events     int     how many events PostgreSQL will have of all flushes
ARGV[6] rules      int     the newest publication of rules that PostgreSQL has

RETURNS 1 noted, 0 Redis went back since the flush has read, or it took too long, -1 the stores differ
]]
assert(#KEYS == 3 and #ARGV == 6)
local history, trace, token, reads = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local found_number, found_token, events = ARGV[3], ARGV[4], ARGV[5]

local number, known, next_number, next_token, next_events, closed =
  unpack(redis.call('HMGET', history, 'number', 'token', 'next_number', 'next_token', 'next_events', 'closed'))
if closed then
  return -1
end
if redis.call('GET', trace) ~= reads then
  return 0
end
if (number or '0') ~= found_number or (known or '') ~= found_token then
  if next_number ~= found_number or next_token ~= found_token then
    return -1
  end
  -- The flush before was committed, and its answer lost.
  redis.call('HSET', history, 'number', next_number, 'token', next_token, 'events', next_events)
end
local fence = tonumber(string.match(redis.call('GET', KEYS[3]) or '', '^%d+'))
if fence and fence < tonumber(ARGV[6]) then -- Redis is of before that publication
  return -1
end
local following = string.format('%.0f', found_number + 1)
redis.call('HSET', history, 'next_number', following, 'next_token', token, 'next_events', events)
redis.call('DEL', trace)
return 1
