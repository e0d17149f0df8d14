--[[
Notes that a worker is alive, and tells which ones are. Redis' own clock decides: those of the workers may differ.

KEYS[1] workers   zset   worker by the time it was last heard of, in milliseconds since the epoch

ARGV[1] worker    string
ARGV[2] ttl       int    milliseconds of silence after which a worker counts as dead

RETURNS array of the workers alive, this one among them
]]
assert(#KEYS == 1 and #ARGV == 2)
local workers, worker, ttl = KEYS[1], ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', string.format('%.0f', now - ttl))
redis.call('ZADD', workers, string.format('%.0f', now), worker)
redis.call('PEXPIRE', workers, ARGV[2])
return redis.call('ZRANGE', workers, 0, -1)
