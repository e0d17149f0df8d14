--[[
Applies batches of a shard, merged to one, atomically: skips event ids applied before, moves progress, draws the
stamp, marks users dirty, appends what PostgreSQL must hear to the log, and drops the journal entries. A user whose
record is not loaded from PostgreSQL yet ("cold") is left alone and named in the reply with a token that
hydrate_users.lua wants back; the journal keeps the batches until no user of them was cold.

KEYS[1]  stamp              int     the shard's counter of changes
KEYS[2]  dirty              zset    member by stamp
KEYS[3]  counts             hash    applied, duplicate
KEYS[4]  log                stream
KEYS[5]  journal            hash
KEYS[6]  journal_index      zset
KEYS[7]  journal_due        zset
KEYS[8]  journal_bytes      int
KEYS[9]  journal_attempts   hash
KEYS[10] log_bytes          int
KEYS[11] ready              zset
KEYS[12] held               hash    bytes in journal and log by tenant
KEYS[13] fence              string  the lowest revision of rules that a plan may be made with, then ':' and a token
KEYS[14] history            hash    see models/state/fleet/histories.py
KEYS[15...] for each user of the plan, in its order:
         record             hash    see models/state/progress/records.py
         seen_before        set     event ids of the dedup generation before the one of ARGV[5]
         seen_now           set     of that generation
         seen_after         set     of the next one: another worker's clock may be ahead

ARGV[1]  plan               msgpack see models/state/progress/apply_request.py
ARGV[2]  packed             bytes   all events, for the log
ARGV[3]  batch_ids          msgpack the journal entries that these events are
ARGV[4]  now                int     microseconds since the epoch
ARGV[5]  generation         int     the dedup generation of now
ARGV[6]  seen_ttl           int     milliseconds
ARGV[7]  record_ttl         int     milliseconds, for records that are not dirty
ARGV[8]  revision           int     the newest publication of rules that the caller knew
ARGV[9]  evaluation_log     int     which evaluations to log: 0 none, 1 changes of status, 2 every step
ARGV[10] known_revision     int     the newest publication that the caller knew of, whether it could read it or not

RETURNS {applied events, duplicate events, completed goals, dirty users of the shard, {{user index, token}, ...} cold},
        or {fence} where the plan was made with a revision below it; '' where there is no fence. Nothing is done then.
]]
assert(#KEYS >= 14 and #KEYS % 4 == 2 and #ARGV == 10)
local stamp_key, dirty, counts, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local journal, journal_index, journal_due = KEYS[5], KEYS[6], KEYS[7]
local journal_bytes, journal_attempts, log_bytes, ready = KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local held, history, FIRST_USER_KEY, KEYS_PER_USER = KEYS[12], KEYS[14], 15, 4
local fence, known_revision = redis.call('GET', KEYS[13]), tonumber(ARGV[10])
local lowest_revision = fence and tonumber(string.match(fence, '^%d+'))
if not lowest_revision or known_revision < lowest_revision then -- before any write
  return { fence or '' }
end
local nodes, users, tenants = unpack(cmsgpack.unpack(ARGV[1]))
local packed, batch_ids, now_text, now = ARGV[2], cmsgpack.unpack(ARGV[3]), ARGV[4], tonumber(ARGV[4])
local generation, seen_ttl, record_ttl = tonumber(ARGV[5]), ARGV[6], ARGV[7]
local revision, evaluation_log = ARGV[8], tonumber(ARGV[9])

local CHUNK = 1000 -- arguments of one command; Lua's stack holds about 8,000
local STAMP_DIGITS = 16 -- in front of every packed row, models/state/progress/records.py

local MARK = '\31' -- between a node's id and its period in a record's field
local OWN, CARRY, GUEST = 0, 1, 2 -- models/rules/matcher.py

-- By position: a node, a user and an event of the plan; a row of a record; the fields of a record read first.
local ID, CHALLENGE_ID, OPERATOR, KERNEL, VERSION, TARGET, A, B, STEPS = 1, 2, 3, 4, 5, 6, 7, 8, 9
local IS_PART, EXACT, PERIODIC, TIMED, KEEPS_FROM, STAYING, ENDS_AT = 10, 11, 12, 13, 14, 15, 16
local LOCK, UNLOCKS, PARTS, PARENTS, HAS_ROW, TOLD = 17, 18, 19, 20, 21, 22
local PART_SIZE = 3 -- a part: id, whether periodic, whether exact
local MEMBER, FIELDS, PERIODS, LANES, EVENTS = 1, 2, 3, 4, 5
local HASH, AT, PLACE, FIRST_STEP, STEP_SIZE = 1, 2, 3, 4, 3
local R_GOAL, R_PERIOD, R_CHALLENGE, R_OPERATOR, R_VERSION, R_STAMP = 1, 2, 3, 4, 5, 6
local R_COMPLETED, R_UPDATED, R_STATE, R_REACHED, R_SLOTS, R_PART = 7, 9, 10, 11, 12, 13
local R_TOLD = 14 -- in Redis only: the composites that were told all they need of a completed part
local LOADED, DIRTY, SEEN, SEEN_BEFORE, META = 1, 2, 3, 4, 4
local PROBE = '~probe:' -- begins the member of models/fleet/probes.py, whose events count nowhere

-- One command with a list of arguments of any length; the replies of a reading command are joined.
local function call(command, key, arguments)
  if #arguments <= CHUNK then
    return redis.call(command, key, unpack(arguments))
  end
  local replies = {}
  for first = 1, #arguments, CHUNK do
    local reply = redis.call(command, key, unpack(arguments, first, math.min(first + CHUNK - 1, #arguments)))
    for index = 1, type(reply) == 'table' and #reply or 0 do
      replies[#replies + 1] = reply[index]
    end
  end
  return replies
end

-- include: foreign
local function draw_stamp()
  local drawn = redis.call('INCR', stamp_key)
  if drawn == 1 then -- a new counter, or Redis lost the old one: start above every stamp ever drawn
    local time = redis.call('TIME')
    drawn = time[1] * 1000000 + time[2]
    redis.call('SET', stamp_key, string.format('%.0f', drawn))
  end
  return drawn
end

expect({ stamp_key, 'int', dirty, 'zset', counts, 'hash', log, 'stream', journal, 'hash', journal_index, 'zset' })
expect({ journal_due, 'zset', journal_bytes, 'int', journal_attempts, 'hash', log_bytes, 'int', ready, 'zset' })
expect({ held, 'hash', history, 'hash' })

-- include: history

local stamp = draw_stamp()
local stamp_text = string.format('%016.0f', stamp)
local token_start = '?' .. epoch .. '.' -- of a load under way in this epoch; one of an older epoch is void
local applied, duplicates, cold, unlocks, evaluations, marks = {}, 0, {}, {}, {}, {}
local probes = 0

-- include: tenants
-- include: operators
-- include: composites
-- include: rows
-- include: evaluations
-- include: network

-- The events of a user that were not applied before, and where their ids must be remembered.
local function new_events(user, base, seen, seen_before)
  local at = math.max(generation, seen or generation) -- a clock that is behind follows the record
  if at > generation + 1 then -- no fault of the events: models/state/connection.py lets them wait
    error(redis.error_reply('CLOCKWRONG the clock is behind by more than a dedup window'))
  end
  local now_key, before_key = KEYS[base + 2 + at - generation], KEYS[base + 1 + at - generation]
  local before = at == seen and seen_before or seen
  local hashes, fresh, added = {}, {}, {}
  for index, event in ipairs(user[EVENTS]) do
    hashes[index] = event[HASH]
  end
  local known_now = of_user('SMISMEMBER', now_key, hashes)
  local known_before = before == at - 1 and of_user('SMISMEMBER', before_key, hashes) or {}
  local taken = {}
  for index, event in ipairs(user[EVENTS]) do
    local hash = event[HASH]
    if known_now[index] == 1 or known_before[index] == 1 or taken[hash] then
      duplicates = duplicates + 1
    else
      taken[hash] = true
      fresh[#fresh + 1], added[#added + 1] = event, hash
    end
  end
  local fields = {}
  if at ~= seen then
    fields = seen and { '@seen', at, '@seen_before', seen } or { '@seen', at }
  end
  return fresh, { key = now_key, hashes = added, is_new = at ~= seen, fields = fields }
end

-- The fields of a user that the events change, each followed by its row.
local function advance_rows(record, user, read, events)
  local periods, lanes = user[PERIODS], user[LANES]
  begin_user(record, user[FIELDS], read)
  for _, event in ipairs(events) do
    applied[#applied + 1] = event[PLACE]
    for step = FIRST_STEP, #event, STEP_SIZE do
      local lane = event[step]
      local node, row, mode = nodes[lanes[lane]], lanes[lane + 1], lanes[lane + 2]
      apply_step(event, node, mode, META + row, periods[row], event[step + 1], event[step + 2])
    end
  end
  return changed_rows()
end

-- First everything is read and computed, and only then written: a fault in a plan must leave nothing half done, for
-- Redis does not undo what a failing script has written.
local changes = {}
for index, user in ipairs(users) do
  local base = FIRST_USER_KEY + (index - 1) * KEYS_PER_USER
  local record = KEYS[base]
  local read = of_user('HMGET', record, user[FIELDS])
  if read[LOADED] ~= epoch then
    local is_loading = read[LOADED] and string.sub(read[LOADED], 1, #token_start) == token_start
    cold[#cold + 1] = { index - 1, is_loading and read[LOADED] or (token_start .. stamp_text), record }
  else
    local known = duplicates
    local events, ids = new_events(user, base, tonumber(read[SEEN] or nil), tonumber(read[SEEN_BEFORE] or nil))
    if user[MEMBER]:sub(1, #PROBE) == PROBE then
      probes, duplicates = probes + #events, known
    end
    if #events > 0 then
      local fields = ids.fields
      local rows = advance_rows(record, user, read, events)
      for index = 1, #rows, 2 do
        fields[#fields + 1], fields[#fields + 2] = rows[index], stamp_text .. cmsgpack.pack(rows[index + 1])
      end
      local touched = #rows > 0
      if touched then
        marks[#marks + 1], marks[#marks + 2] = stamp_text, user[MEMBER]
      end
      changes[#changes + 1] = { record = record, ids = ids, fields = fields, touched = touched, dirty = read[DIRTY] }
    end
  end
end
local log_entry =
  { 'batch', packed, 'places', cmsgpack.pack(applied), 'stamp', stamp_text, 'at', now_text, 'revision', revision }
local entry_bytes = #packed
if #unlocks > 0 then
  log_entry[#log_entry + 1], log_entry[#log_entry + 2] = 'unlocks', cmsgpack.pack(unlocks)
  entry_bytes = entry_bytes + #log_entry[#log_entry]
end
if #evaluations > 0 then
  log_entry[#log_entry + 1], log_entry[#log_entry + 2] = 'evaluations', cmsgpack.pack(evaluations)
  entry_bytes = entry_bytes + #log_entry[#log_entry]
end
local shares, weight = {}, 0 -- whose these bytes are: what the flush takes off again is written down with them
for at = 2, #tenants, 2 do
  weight = weight + tenants[at]
end
for at = 1, #tenants, 2 do
  shares[at], shares[at + 1] = tenants[at], math.ceil(entry_bytes * tenants[at + 1] / weight)
end
log_entry[#log_entry + 1], log_entry[#log_entry + 2] = 'tenants', cmsgpack.pack(shares)

for _, user in ipairs(cold) do
  local record = table.remove(user)
  redis.call('HSET', record, '@loaded', user[2])
  redis.call('PEXPIRE', record, record_ttl)
end
for _, change in ipairs(changes) do
  call('SADD', change.ids.key, change.ids.hashes)
  if change.ids.is_new then
    redis.call('PEXPIRE', change.ids.key, seen_ttl)
  end
  local fields = change.fields
  if change.touched and not change.dirty then -- from here on only the flush may let the record go
    redis.call('PERSIST', change.record)
    fields[#fields + 1], fields[#fields + 2] = '@dirty', now_text
  end
  if #fields > 0 then
    call('HSET', change.record, fields)
  end
  if not change.touched then
    redis.call('HSET', change.record, '@noted', stamp_text) -- no flush settles it: evict_users.lua
    if not change.dirty then
      redis.call('PEXPIRE', change.record, record_ttl)
    end
  end
end
if #marks > 0 then
  call('ZADD', dirty, marks)
end
if #applied > 0 then
  redis.call('XADD', log, '*', unpack(log_entry))
  redis.call('INCRBY', log_bytes, entry_bytes)
  for at = 1, #shares, 2 do
    redis.call('HINCRBY', held, shares[at], shares[at + 1])
  end
end
if #applied > probes then
  redis.call('HINCRBY', counts, 'applied', #applied - probes)
end
if duplicates > 0 then
  redis.call('HINCRBY', counts, 'duplicate', duplicates)
end
for _, batch_id in ipairs(#cold == 0 and batch_ids or {}) do
  -- Its tenant may be none of this plan's, which may be the last of several.
  local taken = redis.call('HGET', journal, batch_id)
  if taken then
    redis.call('HDEL', journal, batch_id)
    redis.call('ZREM', journal_index, batch_id)
    redis.call('ZREM', journal_due, batch_id)
    redis.call('ZREM', ready, batch_id)
    redis.call('HDEL', journal_attempts, batch_id)
    redis.call('DECRBY', journal_bytes, #taken)
    let_go(held, tenant_of(taken), #taken)
  end
end
return { #applied, duplicates, #unlocks, redis.call('ZCARD', dirty), cold }
