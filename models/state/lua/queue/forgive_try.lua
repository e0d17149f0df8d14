--[[
Takes back a try that ended for a passing reason, if it was counted; a second time changes nothing.

KEYS[1] tries   hash     fields tries and try:<name>, see models/state/queue/attempts.py

ARGV[1] name    string   of the try

RETURNS 1 taken back, 0 it was not counted
]]
assert(#KEYS == 1 and #ARGV == 1)
local tries, name = KEYS[1], ARGV[1]

if redis.call('HDEL', tries, 'try:' .. name) == 0 then
  return 0
end
redis.call('HINCRBY', tries, 'tries', -1)
return 1
