--[[
Part of apply_events.lua: the rows of one user, under one version of their goal or several. It must agree with
models/rules/version_states.py and models/rules/engine.py.

A row is known by its place: that of its field among those read with the record, or one behind them.

DEFINES begin_user, row_at, place_of, places_of, put_row, new_row, open_slot, show_main, changed_rows
]]

local record, fields, packed_rows, rows, changed, places, all_fields -- of the user at hand

-- names: the fields read with the record, rows behind the first META of them; packed: what they held.
local function begin_user(record_key, names, packed)
  record, fields, packed_rows, rows, changed, places, all_fields = record_key, names, packed, {}, {}, nil, nil
end

-- The row at a place; false where there is none.
local function row_at(place)
  local row = rows[place]
  if row == nil then
    local packed = packed_rows[place]
    row = false
    if packed then
      local _, unpacked = cmsgpack.unpack_one(packed, Limit.STAMP_DIGITS)
      row = unpacked
      if row[Row.part] == nil then -- written before rows had these fields; a hole would turn the row into a map
        row[Row.reached_at], row[Row.slots], row[Row.part] = row[Row.completed_at], false, false
      end
      for _, slot in ipairs(row[Row.slots] or {}) do -- one state, which its slot and the row share
        if slot[VersionState.VERSION] == row[Row.rule_version] then
          slot[VersionState.STATE] = row[Row.state]
        end
      end
    end
    rows[place] = row
  end
  return row
end

-- The place of a field, which is read now if it was not read with the record.
local function place_of(field)
  if not places then
    places = {}
    for place = Meta.SIZE + 1, #fields do
      places[fields[place]] = place
    end
  end
  local place = places[field]
  if not place then
    place = #fields + 1
    fields[place], packed_rows[place], places[field] = field, redis.call('HGET', record, field), place
  end
  return place
end

-- The fields of the record, those of this plan too, by the id of their node; read once for all that ask.
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

-- The places of all rows of a node, whatever their periods.
local function places_of(id)
  if not all_fields then
    read_fields()
  end
  local found = {}
  for _, field in ipairs(all_fields[id] or {}) do
    local place = place_of(field)
    if row_at(place) then
      found[#found + 1] = place
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
    stamp = 0,
    completed_at = 0,
    created_at = now,
    updated_at = now,
    state = state,
    reached_at = 0,
    slots = false,
    part = node[Node.is_part],
  }
end

-- Keeps a row, as changed by this call.
local function put_row(place, row, node)
  row[Row.challenge_id], row[Row.stamp], row[Row.updated_at] = node[Node.challenge_id], stamp, now
  if not changed[place] then
    rows[place], changed[place] = row, true
  end
end

-- The fields that changed, each followed by its row.
local function changed_rows()
  local found = {}
  for place in pairs(changed) do
    found[#found + 1], found[#found + 2] = fields[place], rows[place]
  end
  return found
end

-- The slot of an earlier version that a new one goes on from.
local function kept_slot(slots, node)
  local kept
  local oldest, own = node[Node.keeps_from], node[Node.version]
  for _, slot in ipairs(oldest > 0 and slots or {}) do
    local version = slot[VersionState.VERSION]
    if slot[VersionState.IS_OWN] and version >= oldest and version < own then
      kept = slot
    end
  end
  return kept
end

-- The state under a node's version and whether an event fell under that; nil where there is none to move.
local function open_slot(row, node, mode)
  local slots, version = row[Row.slots], node[Node.version]
  local create = mode == Mode.CURRENT or mode == Mode.GRANDFATHERED
  if not slots then
    if row[Row.rule_version] == version then
      return row[Row.state], true
    elseif not create then
      return nil
    end
    slots = { VersionState{
      VERSION = row[Row.rule_version],
      IS_OWN = true,
      STATE = row[Row.state],
      OPERATOR = row[Row.operator],
    } }
    row[Row.slots] = slots
  end
  local place = 1
  while slots[place] and slots[place][VersionState.VERSION] < version do
    place = place + 1
  end
  local slot = slots[place]
  if not slot or slot[VersionState.VERSION] ~= version then
    if not create then
      return nil
    end
    local kept = kept_slot(slots, node)
    local copy = kept and cmsgpack.unpack(cmsgpack.pack(kept[VersionState.STATE]))
    local state = copy or first_state[node[Node.kernel]](node)
    slot = VersionState{
      VERSION = version,
      IS_OWN = mode == Mode.CURRENT or kept ~= nil,
      STATE = state,
      OPERATOR = node[Node.operator],
    }
    table.insert(slots, place, slot)
  elseif mode == Mode.CURRENT or mode == Mode.MIGRATED then -- what is carried on shows as well that the user came to it
    slot[VersionState.IS_OWN] = true
  elseif not slot[VersionState.IS_OWN] and not create then
    return nil
  end
  return slot[VersionState.STATE], slot[VersionState.IS_OWN]
end

-- Lets a row show its main state: the newest, or the oldest that its users stay on.
local function show_main(row, node)
  local main, stays
  for _, slot in ipairs(row[Row.slots]) do
    if slot[VersionState.IS_OWN] and not stays then
      main = slot
      for _, version in ipairs(node[Node.staying]) do
        stays = stays or version == slot[VersionState.VERSION]
      end
    end
  end
  if main then
    row[Row.rule_version], row[Row.state] = main[VersionState.VERSION], main[VersionState.STATE]
    row[Row.operator] = main[VersionState.OPERATOR]
  end
end
