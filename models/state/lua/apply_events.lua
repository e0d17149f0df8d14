--[[
Applies batches of a shard, merged to one, atomically: skips event ids applied before, moves progress, draws the
version, marks users dirty, appends what PostgreSQL must hear to the log, and acknowledges the entries of the queue. A user
whose record is not loaded from PostgreSQL yet ("cold") is left alone and named in the reply with a token that
hydrate_users.lua wants back; the queue keeps the entries until no user of them was cold.

KEYS[1]  record_version              int     the shard's counter of changes
KEYS[2]  dirty              zset    member by version
KEYS[3]  counts             hash    applied, duplicate
KEYS[4]  log                stream
KEYS[5]  journal_bytes      int
KEYS[6]  log_bytes          int
KEYS[7]  held               hash    bytes in queue and log by tenant
KEYS[8]  waiting            hash    see append_journal.lua
KEYS[9]  fence              string  the lowest revision of rules that a plan may be made with, then ':' and a token
KEYS[10] history            hash    see models/state/fleet/histories.py
KEYS[11] stream             stream  the first of the shard's queue, see apply/entries.lua
KEYS[12] stream             stream  the second
KEYS[13] stream             stream  the third
KEYS[14] stream             stream  the fourth
KEYS[15] stream             stream  what is tried alone
KEYS[16...] for each user of the plan, in its order:
         record             hash    see models/state/progress/records.py
         seen_before        set     event ids of the dedup bucket before the one of ARGV[5]
         seen_now           set     of that bucket
         seen_after         set     of the next one: another worker's clock may be ahead

ARGV[1]  request               msgpack see models/state/progress/apply_request.py, and for its records models/wire.py
ARGV[2]  packed             bytes   all events, for the log
ARGV[3]  names              msgpack the entries of the queue that these events are
ARGV[4]  now                int     microseconds since the epoch
ARGV[5]  dedup_bucket         int     the dedup bucket of now
ARGV[6]  seen_ttl           int     milliseconds
ARGV[7]  record_ttl         int     milliseconds, for records that are not dirty
ARGV[8]  revision           int     the newest publication of rules that the caller knew
ARGV[9]  evaluation_log     int     which evaluations to log: 0 none, 1 changes of status, 2 every step
ARGV[10] known_revision     int     the newest publication that the caller knew of, whether it could read it or not

RETURNS ApplyReply, with a list of Cold;
        or {fence} where the plan was made with a revision below it; '' where there is no fence. Nothing is done then.
]]
assert(#KEYS >= 15 and #KEYS % 4 == 3 and #ARGV == 10)
local version_key, dirty, counts, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local journal_bytes, log_bytes, held, waiting, history = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[10]
local streams, FIRST_USER_KEY, KEYS_PER_USER = { KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15] }, 16, 4
local fence, known_revision = redis.call('GET', KEYS[9]), tonumber(ARGV[10])
local lowest_revision = fence and tonumber(string.match(fence, '^%d+'))
if not lowest_revision or known_revision < lowest_revision then -- before any write
  return { fence or '' }
end
local nodes, users, tenants = unpack(cmsgpack.unpack(ARGV[1]))
local packed, names, now_text, now = ARGV[2], cmsgpack.unpack(ARGV[3]), ARGV[4], tonumber(ARGV[4])
local dedup_bucket, seen_ttl, record_ttl = tonumber(ARGV[5]), ARGV[6], ARGV[7]
local revision, evaluation_log = ARGV[8], tonumber(ARGV[9])

-- One command with a list of arguments of any length; the replies of a reading command are joined.
local function call(command, key, arguments)
  if #arguments <= Limit.CHUNK then
    return redis.call(command, key, unpack(arguments))
  end
  local replies = {}
  for first = 1, #arguments, Limit.CHUNK do
    local reply = redis.call(command, key, unpack(arguments, first, math.min(first + Limit.CHUNK - 1, #arguments)))
    for index = 1, type(reply) == 'table' and #reply or 0 do
      replies[#replies + 1] = reply[index]
    end
  end
  return replies
end

-- include: foreign
local function draw_version()
  local drawn = redis.call('INCR', version_key)
  if drawn == 1 then -- a new counter, or Redis lost the old one: start above every version ever drawn
    local time = redis.call('TIME')
    drawn = time[1] * 1000000 + time[2]
    redis.call('SET', version_key, string.format('%.0f', drawn))
  end
  return drawn
end

-- include: tenants
-- include: entries

expect({ version_key, 'int', dirty, 'zset', counts, 'hash', log, 'stream', journal_bytes, 'int', log_bytes, 'int' })
expect({ held, 'hash', waiting, 'hash', history, 'hash' })
for _, name in ipairs(names) do
  expect({ stream_of(name) or log, 'stream' })
end

-- include: history

local record_version = draw_version()
local version_text = string.format('%016.0f', record_version)
local token_start = '?' .. epoch .. '.' -- of a load under way in this epoch; one of an older epoch is void
local applied, duplicates, cold, unlocks, evaluations, marks = {}, 0, {}, {}, {}, {}
local probes = 0

-- include: operators
-- include: composites
-- include: rows
-- include: evaluations
-- include: propagation

-- The events of a user that were not applied before, and where their ids must be remembered.
local function new_events(user, base, seen, seen_before)
  local at = math.max(dedup_bucket, seen or dedup_bucket) -- a clock that is behind follows the record
  if at > dedup_bucket + 1 then -- no fault of the events: models/state/connection.py lets them wait
    error(redis.error_reply('CLOCKWRONG the clock is behind by more than a dedup window'))
  end
  local now_key, before_key = KEYS[base + 2 + at - dedup_bucket], KEYS[base + 1 + at - dedup_bucket]
  local before = at == seen and seen_before or seen
  local hashes, fresh, added = {}, {}, {}
  for index, event in ipairs(user[User.events]) do
    hashes[index] = event[Event.identity_hash]
  end
  local known_now = of_user('SMISMEMBER', now_key, hashes)
  local known_before = before == at - 1 and of_user('SMISMEMBER', before_key, hashes) or {}
  local taken = {}
  for index, event in ipairs(user[User.events]) do
    local hash = event[Event.identity_hash]
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
  local periods, targets = user[User.periods], user[User.targets]
  begin_user(record, user[User.fields], read)
  for _, event in ipairs(events) do
    applied[#applied + 1] = event[Event.position]
    for before = Event.SIZE, #event - 1, Step.SIZE do
      local target = event[before + Step.target] - 1
      local node, row, mode = nodes[targets[target + Target.node]], targets[target + Target.row], targets[target + Target.mode]
      local amount, low = event[before + Step.amount], event[before + Step.low]
      apply_step(event, node, mode, Meta.SIZE + row, periods[row], amount, low)
    end
  end
  return changed_rows()
end

-- First everything is read and computed, and only then written: a fault in a plan must leave nothing half done, for
-- Redis does not undo what a failing script has written.
local changes, loading = {}, {}
for index, user in ipairs(users) do
  local base = FIRST_USER_KEY + (index - 1) * KEYS_PER_USER
  local record = KEYS[base]
  local read = of_user('HMGET', record, user[User.fields])
  if read[Meta.loaded] ~= epoch then
    local is_loading = read[Meta.loaded] and string.sub(read[Meta.loaded], 1, #token_start) == token_start
    local token = is_loading and read[Meta.loaded] or (token_start .. version_text)
    cold[#cold + 1] = Cold{ user = index - 1, token = token }
    loading[#loading + 1] = record
  else
    local known = duplicates
    local seen, seen_before = tonumber(read[Meta.seen] or nil), tonumber(read[Meta.seen_before] or nil)
    local events, ids = new_events(user, base, seen, seen_before)
    if string.sub(user[User.member], 1, #Text.PROBE) == Text.PROBE then
      probes, duplicates = probes + #events, known
    end
    if #events > 0 then
      local fields = ids.fields
      local rows = advance_rows(record, user, read, events)
      for index = 1, #rows, 2 do
        fields[#fields + 1], fields[#fields + 2] = rows[index], version_text .. cmsgpack.pack(rows[index + 1])
      end
      local touched = #rows > 0
      if touched then
        marks[#marks + 1], marks[#marks + 2] = version_text, user[User.member]
      end
      changes[#changes + 1] = { record = record, ids = ids, fields = fields, touched = touched, dirty = read[Meta.dirty] }
    end
  end
end
local log_entry =
  { 'batch', packed, 'places', cmsgpack.pack(applied), 'stamp', version_text, 'at', now_text, 'revision', revision }
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

for index, user in ipairs(cold) do
  redis.call('HSET', loading[index], '@loaded', user[Cold.token])
  redis.call('PEXPIRE', loading[index], record_ttl)
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
    redis.call('HSET', change.record, '@noted', version_text) -- no flush acknowledges it: evict_users.lua
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
if #cold == 0 and #names > 0 then
  for _, name in ipairs(names) do
    take_out(name)
  end
  redis.call('HSET', waiting, '@taken', math.floor(now / 1000))
end
return ApplyReply{
  events = #applied,
  duplicates = duplicates,
  unlocks = #unlocks,
  dirty_users = redis.call('ZCARD', dirty),
  cold = cold,
}
