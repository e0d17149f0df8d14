--[[
Notes that a process is alive and what it says of itself, and forgets those that were silent for too long. Redis' own
clock decides: those of the processes may differ.

KEYS[1] heard     zset    process by the time it was last heard of, in milliseconds since the epoch
KEYS[2] facts     hash    process to what it says of itself

ARGV[1] process   string
ARGV[2] said      string  JSON, see models/state/fleet/presence.py
ARGV[3] ttl       int     milliseconds of silence after which a process counts as gone

RETURNS the time by Redis' clock, in milliseconds since the epoch
]]
assert(#KEYS == 2 and #ARGV == 3)
local heard, facts, process, said, ttl = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local latest_gone = string.format('%.0f', now - ttl)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', heard, '-inf', latest_gone, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', heard, gone)
  redis.call('HDEL', facts, gone)
end
redis.call('ZADD', heard, string.format('%.0f', now), process)
redis.call('HSET', facts, process, said)
return now
