--[[
Part of apply_events.lua: the rows of one user, under one version of their goal or several. It must agree with
models/rules/version_states.py and models/rules/engine.py.

A row is known by its position: that of its field among those read with the record, or one behind them.

DEFINES begin_user, row_at, index_of, indexes_of, put_row, new_row, open_version_state, show_main, changed_rows
]]

local record, fields, packed_rows, rows, changed, indexes, all_fields -- of the user at hand

-- names: the fields read with the record, rows behind the first META of them; packed: what they held.
local function begin_user(record_key, names, packed)
  record, fields, packed_rows, rows, changed, indexes, all_fields = record_key, names, packed, {}, {}, nil, nil
end

-- The row at a position; false where there is none.
local function row_at(index)
  local row = rows[index]
  if row == nil then
    local packed = packed_rows[index]
    row = false
    if packed then
      local _, unpacked = cmsgpack.unpack_one(packed, Limit.VERSION_DIGITS)
      row = unpacked
      if row[Row.part] == nil then -- written before rows had these fields; a hole would turn the row into a map
        row[Row.reached_at], row[Row.version_states], row[Row.part] = row[Row.completed_at], false, false
      end
      for _, version_state in ipairs(row[Row.version_states] or {}) do -- one state, which its version state and the row share
        if version_state[VersionState.VERSION] == row[Row.rule_version] then
          version_state[VersionState.STATE] = row[Row.state]
        end
      end
    end
    rows[index] = row
  end
  return row
end

-- The position of a field, which is read now if it was not read with the record.
local function index_of(field)
  if not indexes then
    indexes = {}
    for index = Meta.SIZE + 1, #fields do
      indexes[fields[index]] = index
    end
  end
  local index = indexes[field]
  if not index then
    index = #fields + 1
    fields[index], packed_rows[index], indexes[field] = field, redis.call('HGET', record, field), index
  end
  return index
end

-- The fields of the record, those of this request too, by the id of their node; read once for all that ask.
local function read_fields()
  local seen = {}
  all_fields = {}
  for _, names in ipairs({ redis.call('HKEYS', record), fields }) do
    for _, field in ipairs(names) do
      local mark = not seen[field] and string.find(field, Text.MARK, 1, true)
      if mark then
        local id = string.sub(field, 1, mark - 1)
        seen[field], all_fields[id] = true, all_fields[id] or {}
        table.insert(all_fields[id], field)
      end
    end
  end
end

-- The positions of all rows of a node, whatever their periods.
local function indexes_of(id)
  if not all_fields then
    read_fields()
  end
  local found = {}
  for _, field in ipairs(all_fields[id] or {}) do
    local index = index_of(field)
    if row_at(index) then
      found[#found + 1] = index
    end
  end
  return found
end

local function new_row(node, period, state)
  return Row{
    goal_id = node[Node.node_id],
    period = period,
    challenge_id = node[Node.challenge_id],
    operator = node[Node.operator],
    rule_version = node[Node.version],
    record_version = 0,
    completed_at = 0,
    created_at = now,
    updated_at = now,
    state = state,
    reached_at = 0,
    version_states = false,
    part = node[Node.is_part],
  }
end

-- Keeps a row, as changed by this call.
local function put_row(index, row, node)
  row[Row.challenge_id], row[Row.record_version], row[Row.updated_at] = node[Node.challenge_id], record_version, now
  if not changed[index] then
    rows[index], changed[index] = row, true
  end
end

-- The fields that changed, each followed by its row.
local function changed_rows()
  local found = {}
  for index in pairs(changed) do
    found[#found + 1], found[#found + 2] = fields[index], rows[index]
  end
  return found
end

-- The state under an earlier version that a new one goes on from.
local function kept_version_state(version_states, node)
  local kept
  local oldest, own = node[Node.keeps_from], node[Node.version]
  for _, version_state in ipairs(oldest > 0 and version_states or {}) do
    local version = version_state[VersionState.VERSION]
    if version_state[VersionState.IS_CURRENT] and version >= oldest and version < own then
      kept = version_state
    end
  end
  return kept
end

-- The state under a node's version and whether an event fell under that; nil where there is none to move.
local function open_version_state(row, node, mode)
  local version_states, version = row[Row.version_states], node[Node.version]
  local create = mode == Mode.CURRENT or mode == Mode.GRANDFATHERED
  if not version_states then
    if row[Row.rule_version] == version then
      return row[Row.state], true
    elseif not create then
      return nil
    end
    version_states = { VersionState{
      VERSION = row[Row.rule_version],
      IS_CURRENT = true,
      STATE = row[Row.state],
      OPERATOR = row[Row.operator],
    } }
    row[Row.version_states] = version_states
  end
  local index = 1
  while version_states[index] and version_states[index][VersionState.VERSION] < version do
    index = index + 1
  end
  local version_state = version_states[index]
  if not version_state or version_state[VersionState.VERSION] ~= version then
    if not create then
      return nil
    end
    local kept = kept_version_state(version_states, node)
    local copy = kept and cmsgpack.unpack(cmsgpack.pack(kept[VersionState.STATE]))
    local state = copy or first_state[node[Node.reducer]](node)
    version_state = VersionState{
      VERSION = version,
      IS_CURRENT = mode == Mode.CURRENT or kept ~= nil,
      STATE = state,
      OPERATOR = node[Node.operator],
    }
    table.insert(version_states, index, version_state)
  elseif mode == Mode.CURRENT or mode == Mode.MIGRATED then -- what is carried on shows as well that the user came to it
    version_state[VersionState.IS_CURRENT] = true
  elseif not version_state[VersionState.IS_CURRENT] and not create then
    return nil
  end
  return version_state[VersionState.STATE], version_state[VersionState.IS_CURRENT]
end

-- Lets a row show its main state: the newest, or the oldest that its users stay on.
local function show_main(row, node)
  local main, stays
  for _, version_state in ipairs(row[Row.version_states]) do
    if version_state[VersionState.IS_CURRENT] and not stays then
      main = version_state
      for _, version in ipairs(node[Node.grandfathered_versions]) do
        stays = stays or version == version_state[VersionState.VERSION]
      end
    end
  end
  if main then
    row[Row.rule_version], row[Row.state] = main[VersionState.VERSION], main[VersionState.STATE]
    row[Row.operator] = main[VersionState.OPERATOR]
  end
end
