--[[
Applies one batch of a shard, atomically: skips event ids applied before, advances progress, draws the stamp, marks
users dirty, appends what PostgreSQL must hear to the log, and drops the journal entry. A user whose record is not
loaded from PostgreSQL yet ("cold") is left alone and named in the reply with a token that hydrate_user.lua wants
back; the journal keeps the batch until no user of it was cold.

KEYS[1]  stamp              int     the shard's counter of changes
KEYS[2]  dirty              zset    member by stamp
KEYS[3]  counts             hash    applied, duplicate
KEYS[4]  log                stream
KEYS[5]  journal            hash
KEYS[6]  journal_index      zset
KEYS[7]  journal_due        zset
KEYS[8]  journal_bytes      int
KEYS[9]  journal_attempts   hash
KEYS[10...] for each user of the plan, in its order:
         record             hash    @loaded, @dirty, and one packed row per goal and period
         seen_before        set     event ids of the previous dedup generation
         seen_now           set     of this generation
         seen_after         set     of the next one (another worker's clock may be ahead)

ARGV[1]  plan               msgpack see models/hot/plan.py
ARGV[2]  packed             bytes   the batch, for the log
ARGV[3]  batch_id           string
ARGV[4]  now                int     microseconds since the epoch
ARGV[5]  seen_ttl           int     milliseconds
ARGV[6]  record_ttl         int     milliseconds, for records that are not dirty
ARGV[7...] for each user: member, the user's name in the dirty set

RETURNS {applied events, duplicate events, completed goals, dirty users of the shard, {{user index, token}, ...} cold}
]]
assert(#KEYS >= 13 and #KEYS % 4 == 1 and #ARGV == 6 + (#KEYS - 9) / 4)
local stamp_key, dirty, counts, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local journal, journal_index, journal_due = KEYS[5], KEYS[6], KEYS[7]
local journal_bytes, journal_attempts = KEYS[8], KEYS[9]
local FIRST_USER_KEY, KEYS_PER_USER, FIRST_MEMBER = 10, 4, 7
local packed, batch_id, now = ARGV[2], ARGV[3], tonumber(ARGV[4])
local seen_ttl, record_ttl = ARGV[5], ARGV[6]
local goals, users = unpack(cmsgpack.unpack(ARGV[1]))

local SUM_BASE = 1e15 -- models/rules/amounts.py
local CHUNK = 1000 -- arguments of one command; Lua's stack holds about 8,000

-- A goal and a row of the plan and of a record, by position.
local GOAL_ID, CHALLENGE_ID, OPERATOR, VERSION, TARGET, TARGET_LOW = 1, 2, 3, 4, 5, 6
local R_CHALLENGE, R_VERSION, R_STAMP, R_COMPLETED, R_UPDATED, R_STATE = 3, 5, 6, 7, 9, 10

local function draw_stamp()
  local drawn = redis.call('INCR', stamp_key)
  if drawn == 1 then -- a new counter, or Redis lost the old one: start above every stamp ever drawn
    local time = redis.call('TIME')
    drawn = time[1] * 1000000 + time[2]
    redis.call('SET', stamp_key, string.format('%.0f', drawn))
  end
  return drawn
end

local advance = {}

function advance.count(state, goal)
  state[1] = state[1] + 1
  return state[1] >= goal[TARGET]
end

function advance.sum(state, goal, high, low)
  local total_low = state[2] + low
  local carry = math.floor(total_low / SUM_BASE)
  state[1], state[2] = state[1] + high + carry, total_low - carry * SUM_BASE
  return state[1] > goal[TARGET] or (state[1] == goal[TARGET] and state[2] >= goal[TARGET_LOW])
end

function advance.latest(state, goal, value, _, at, hash)
  if #state == 0 or at > state[2] or (at == state[2] and hash > state[3]) then
    state[1], state[2], state[3] = value, at, hash
  end
  return value >= goal[TARGET]
end

local function first_row(goal, period)
  local state = {}
  if goal[OPERATOR] == 'count' then
    state = { 0 }
  elseif goal[OPERATOR] == 'sum' then
    state = { 0, 0 }
  end
  return { goal[GOAL_ID], period, goal[CHALLENGE_ID], goal[OPERATOR], goal[VERSION], 0, 0, now, now, state }
end

local function in_chunks(list, call)
  local replies = {}
  for first = 1, #list, CHUNK do
    local reply = call(unpack(list, first, math.min(first + CHUNK - 1, #list)))
    if type(reply) == 'table' then
      for _, value in ipairs(reply) do
        replies[#replies + 1] = value
      end
    end
  end
  return replies
end

local stamp = draw_stamp()
local stamp_text = string.format('%.0f', stamp)
local applied, duplicates, cold, unlocks = {}, 0, {}, {}

local function load_rows(record, plan_rows)
  local fields = {}
  for index, row in ipairs(plan_rows) do
    fields[index] = row[1]
  end
  local rows = in_chunks(fields, function(...)
    return redis.call('HMGET', record, ...)
  end)
  for index, row in ipairs(plan_rows) do
    rows[index] = rows[index] and cmsgpack.unpack(rows[index]) or first_row(goals[row[2]], row[3])
  end
  return rows
end

local function new_events(events, seen_before, seen_now, seen_after)
  local hashes, fresh, added = {}, {}, {}
  for index, event in ipairs(events) do
    hashes[index] = event[1]
  end
  local known = {}
  for _, seen in ipairs({ seen_before, seen_now, seen_after }) do
    local flags = in_chunks(hashes, function(...)
      return redis.call('SMISMEMBER', seen, ...)
    end)
    for index, flag in ipairs(flags) do
      known[hashes[index]] = known[hashes[index]] or flag == 1
    end
  end
  for _, event in ipairs(events) do
    if known[event[1]] then
      duplicates = duplicates + 1
    else
      known[event[1]] = true
      fresh[#fresh + 1] = event
      added[#added + 1] = event[1]
    end
  end
  if #added > 0 then
    in_chunks(added, function(...)
      return redis.call('SADD', seen_now, ...)
    end)
    redis.call('PEXPIRE', seen_now, seen_ttl)
  end
  return fresh
end

local function advance_rows(user, rows, events)
  local changed = {}
  for _, event in ipairs(events) do
    local hash, at, place = event[1], event[2], event[3]
    applied[#applied + 1] = place
    for step = 4, #event do
      local index, amount, low = event[step][1], event[step][2], event[step][3]
      local goal, row = goals[user[1][index][2]], rows[index]
      local reached = advance[goal[OPERATOR]](row[R_STATE], goal, amount, low, at, hash)
      if reached and row[R_COMPLETED] == 0 then
        unlocks[#unlocks + 1] = { place, row[1], row[2], goal[CHALLENGE_ID], goal[VERSION], at }
        row[R_COMPLETED] = at
      elseif reached and goal[OPERATOR] == 'latest' and at < row[R_COMPLETED] then
        row[R_COMPLETED] = at
      end
      row[R_CHALLENGE], row[R_VERSION] = goal[CHALLENGE_ID], goal[VERSION]
      row[R_STAMP], row[R_UPDATED] = stamp, now
      changed[index] = true
    end
  end
  return changed
end

local function save_rows(record, member, user, rows, changed, was_dirty)
  local pairs_to_set = {}
  for index in pairs(changed) do
    pairs_to_set[#pairs_to_set + 1] = user[1][index][1]
    pairs_to_set[#pairs_to_set + 1] = cmsgpack.pack(rows[index])
  end
  if #pairs_to_set == 0 then
    if not was_dirty then
      redis.call('PEXPIRE', record, record_ttl)
    end
    return
  end
  if not was_dirty then -- from here on only the flush may let the record go
    redis.call('PERSIST', record)
    pairs_to_set[#pairs_to_set + 1] = '@dirty'
    pairs_to_set[#pairs_to_set + 1] = ARGV[4]
  end
  in_chunks(pairs_to_set, function(...)
    redis.call('HSET', record, ...)
  end)
  redis.call('ZADD', dirty, stamp_text, member)
end

for index, user in ipairs(users) do
  local base = FIRST_USER_KEY + (index - 1) * KEYS_PER_USER
  local record = KEYS[base]
  local meta = redis.call('HMGET', record, '@loaded', '@dirty')
  if meta[1] ~= '1' then
    local token = meta[1] or ('?' .. stamp_text)
    redis.call('HSET', record, '@loaded', token)
    redis.call('PEXPIRE', record, record_ttl)
    cold[#cold + 1] = { index - 1, token }
  else
    local events = new_events(user[2], KEYS[base + 1], KEYS[base + 2], KEYS[base + 3])
    if #events > 0 then
      local rows = load_rows(record, user[1])
      local changed = advance_rows(user, rows, events)
      save_rows(record, ARGV[FIRST_MEMBER + index - 1], user, rows, changed, meta[2])
    end
  end
end

if #applied > 0 then
  local entry = { 'batch', packed, 'places', cmsgpack.pack(applied), 'stamp', stamp_text, 'at', ARGV[4] }
  if #unlocks > 0 then
    entry[#entry + 1] = 'unlocks'
    entry[#entry + 1] = cmsgpack.pack(unlocks)
  end
  redis.call('XADD', log, '*', unpack(entry))
  redis.call('HINCRBY', counts, 'applied', #applied)
end
if duplicates > 0 then
  redis.call('HINCRBY', counts, 'duplicate', duplicates)
end
if #cold == 0 then
  local size = redis.call('HSTRLEN', journal, batch_id)
  if redis.call('HDEL', journal, batch_id) == 1 then
    redis.call('ZREM', journal_index, batch_id)
    redis.call('ZREM', journal_due, batch_id)
    redis.call('HDEL', journal_attempts, batch_id)
    redis.call('DECRBY', journal_bytes, size)
  end
end
return { #applied, duplicates, #unlocks, redis.call('ZCARD', dirty), cold }
