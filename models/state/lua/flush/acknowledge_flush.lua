--[[
Notes that the flush that was under way is committed. What it wrote may be taken off Redis only after that.

KEYS[1] history    hash    see models/state/fleet/histories.py

ARGV[1] token      string  of the flush

RETURNS 1 noted, by now or before; 0 this Redis knows nothing of the flush: it went back, or another one came after
]]
assert(#KEYS == 1 and #ARGV == 1)
local history, token = KEYS[1], ARGV[1]

local known, next_number, next_token, next_events =
  unpack(redis.call('HMGET', history, 'token', 'next_number', 'next_token', 'next_events'))
if known == token then
  return 1
end
if next_token ~= token then
  return 0
end
redis.call('HSET', history, 'number', next_number, 'token', next_token, 'events', next_events)
redis.call('HDEL', history, 'next_number', 'next_token', 'next_events')
return 1
