--[[
Part of apply_events.lua: the rows of one user, under one version of their goal or several. It must agree with
models/rules/version_states.py and models/rules/engine.py.

A row is known by its place: that of its field among those read with the record, or one behind them.

DEFINES begin_user, row_at, place_of, places_of, put_row, new_row, open_slot, show_main, changed_rows
USES    first_state, now, stamp, R_OPERATOR, R_VERSION, R_STATE, R_SLOTS, R_CHALLENGE, R_STAMP, R_UPDATED,
        R_COMPLETED, R_REACHED, R_PART, ID,
        CHALLENGE_ID, OPERATOR, KERNEL, VERSION, IS_PART, KEEPS_FROM, STAYING, MARK, META, STAMP_DIGITS, OWN, CARRY,
        GUEST
]]
local S_VERSION, S_OWN, S_STATE, S_OPERATOR = 1, 2, 3, 4 -- models/rules/version_states.py

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
      local _, unpacked = cmsgpack.unpack_one(packed, STAMP_DIGITS)
      row = unpacked
      if row[R_PART] == nil then -- written before rows had these fields; a hole would turn the row into a map
        row[R_REACHED], row[R_SLOTS], row[R_PART] = row[R_COMPLETED], false, false
      end
      for _, slot in ipairs(row[R_SLOTS] or {}) do -- one state, which its slot and the row share
        if slot[S_VERSION] == row[R_VERSION] then
          slot[S_STATE] = row[R_STATE]
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
    for place = META + 1, #fields do
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
      local mark = not seen[field] and string.find(field, MARK, 1, true)
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
  local operator = node[OPERATOR]
  return { node[ID], period, node[CHALLENGE_ID], operator, node[VERSION], 0, 0, now, now, state, 0, false, node[IS_PART] }
end

-- Keeps a row, as changed by this call.
local function put_row(place, row, node)
  row[R_CHALLENGE], row[R_STAMP], row[R_UPDATED] = node[CHALLENGE_ID], stamp, now
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
  for _, slot in ipairs(node[KEEPS_FROM] > 0 and slots or {}) do
    if slot[S_OWN] and slot[S_VERSION] >= node[KEEPS_FROM] and slot[S_VERSION] < node[VERSION] then
      kept = slot
    end
  end
  return kept
end

-- The state under a node's version and whether an event fell under that; nil where there is none to move.
local function open_slot(row, node, mode)
  local slots, version = row[R_SLOTS], node[VERSION]
  local create = mode == OWN or mode == GUEST
  if not slots then
    if row[R_VERSION] == version then
      return row[R_STATE], true
    elseif not create then
      return nil
    end
    slots = { { row[R_VERSION], true, row[R_STATE], row[R_OPERATOR] } }
    row[R_SLOTS] = slots
  end
  local place = 1
  while slots[place] and slots[place][S_VERSION] < version do
    place = place + 1
  end
  local slot = slots[place]
  if not slot or slot[S_VERSION] ~= version then
    if not create then
      return nil
    end
    local kept = kept_slot(slots, node)
    local state = kept and cmsgpack.unpack(cmsgpack.pack(kept[S_STATE])) or first_state[node[KERNEL]](node)
    slot = { version, mode == OWN or kept ~= nil, state, node[OPERATOR] }
    table.insert(slots, place, slot)
  elseif mode == OWN or mode == CARRY then -- progress carried on shows as well that the user had come to it
    slot[S_OWN] = true
  elseif not slot[S_OWN] and not create then
    return nil
  end
  return slot[S_STATE], slot[S_OWN]
end

-- Lets a row show its main state: the newest, or the oldest that its users stay on.
local function show_main(row, node)
  local main, stays
  for _, slot in ipairs(row[R_SLOTS]) do
    if slot[S_OWN] and not stays then
      main = slot
      for _, version in ipairs(node[STAYING]) do
        stays = stays or version == slot[S_VERSION]
      end
    end
  end
  if main then
    row[R_VERSION], row[R_STATE], row[R_OPERATOR] = main[S_VERSION], main[S_STATE], main[S_OPERATOR]
  end
end
