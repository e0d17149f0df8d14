--[[
Part of apply_events.lua: keys that hold another application's value. Those of the shard are looked at before anything
is written; of a user's keys the first command tells, which only reads. Nothing of it is ever replaced.

DEFINES expect, of_user
]]
-- Raises unless each key is missing or of its type; 'int' is a string that holds a whole number.
local function expect(types)
  for index = 1, #types, 2 do
    local key, wanted = types[index], types[index + 1]
    local found = redis.call('TYPE', key).ok
    if found == 'string' and wanted == 'int' and string.find(redis.call('GET', key), '^%-?%d+$') then
      found = 'int'
    end
    if found ~= 'none' and found ~= wanted then
      error(redis.error_reply('FOREIGNKEY ' .. key .. ' holds a ' .. found .. ' instead of a ' .. wanted))
    end
  end
end

-- What a reading command says of a user's key, whose name stands in the error where it holds something else.
local function of_user(command, key, arguments)
  local done, reply = pcall(call, command, key, arguments)
  if not done then
    local text = type(reply) == 'table' and reply.err or tostring(reply)
    if string.find(text, 'WRONGTYPE', 1, true) then
      error(redis.error_reply('FOREIGNUSERKEY ' .. key .. ' holds a ' .. redis.call('TYPE', key).ok))
    end
    error(reply)
  end
  return reply
end
