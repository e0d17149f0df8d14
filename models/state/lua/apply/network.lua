--[[
Part of apply_events.lua: what a step means to its row, to the goals that wait for it and to the composites it is a
part of. It must agree with models/rules/engine.py.

DEFINES apply_step
USES    advance, carried, first_state, first_composite, add_stretch, settle, row_at, place_of, places_of, put_row,
        new_row, open_slot, show_main, remember, evaluate, nodes, unlocks, ID, CHALLENGE_ID, VERSION, OPERATOR, KERNEL,
        A, IS_PART, EXACT, PERIODIC, TIMED, ENDS_AT, LOCK, UNLOCKS, PARTS, PARENTS, HAS_ROW, TOLD, PART_SIZE, OWN, MARK,
        R_GOAL, R_PERIOD, R_VERSION, R_OPERATOR, R_COMPLETED, R_STATE, R_REACHED, R_SLOTS, R_TOLD, AT, PLACE, HASH
]]
local event -- at hand
local tell_parents, finish

-- What the parts of a composite say: their completion times, 0 for those not complete.
local function completed_parts(node)
  local completed, parts = {}, node[PARTS]
  for part = 1, #parts, PART_SIZE do
    local id, periodic, first = parts[part], parts[part + 1], 0
    for _, row_place in ipairs(periodic and places_of(id) or { place_of(id .. MARK) }) do
      local row = row_at(row_place)
      local at = row and row[R_COMPLETED] or 0
      first = (first == 0 or (at > 0 and at < first)) and at or first
    end
    completed[#completed + 1] = first
  end
  return completed
end

-- A composite's row under a version it was not under before, from what its parts say now.
local function under(node, row)
  local noted = completed_parts(node)
  for place, at in ipairs(noted) do
    noted[place] = node[PARTS][PART_SIZE * place] and at or math.min(at, 1)
  end
  local state = first_composite(node, noted)
  if not row then
    return new_row(node, '', state)
  end
  row[R_STATE], row[R_VERSION], row[R_OPERATOR], row[R_SLOTS] = state, node[VERSION], node[OPERATOR], false
  return row
end

-- When all prerequisites were complete, 0 while they are not.
local function lock_opened(lock)
  if not lock[HAS_ROW] then
    local opened_at = 0
    for _, at in ipairs(completed_parts(lock)) do
      if at == 0 then
        return 0
      end
      opened_at = math.max(opened_at, at)
    end
    return opened_at
  end
  local row_place = place_of(lock[ID] .. MARK)
  local row = row_at(row_place)
  if not row or row[R_VERSION] < lock[VERSION] then
    row = under(lock, row)
    finish(lock, row_place, row, settle(lock, row[R_STATE], event[AT]), lock[EXACT])
  end
  return row[R_COMPLETED]
end

-- Completes a row whose target was reached, unless prerequisites are missing.
local function complete(node, row)
  local lock = nodes[node[LOCK]]
  local opened_at = lock and lock_opened(lock)
  local completed_at = math.max(row[R_REACHED], opened_at or 0)
  if opened_at ~= 0 and (row[R_COMPLETED] == 0 or completed_at < row[R_COMPLETED]) then
    if row[R_COMPLETED] == 0 and not node[IS_PART] then
      unlocks[#unlocks + 1] =
        { event[PLACE], row[R_GOAL], row[R_PERIOD], node[CHALLENGE_ID], node[VERSION], completed_at }
    end
    row[R_COMPLETED] = completed_at
  end
end

-- Notes that the target was reached, and whether that completes the row; keeps the row.
function finish(node, place, row, reached_at, exact)
  local reached = row[R_REACHED] or 0
  if reached_at > 0 and (reached == 0 or (exact and reached_at < reached)) then
    row[R_REACHED] = reached_at
    complete(node, row)
  elseif reached > 0 and row[R_COMPLETED] == 0 then
    complete(node, row)
  end
  put_row(place, row, node)
end

-- Completes what was reached and waited for its prerequisites.
local function unlock(node)
  for _, place in ipairs(node[PERIODIC] and places_of(node[ID]) or { place_of(node[ID] .. MARK) }) do
    local row = row_at(place)
    if row and (row[R_REACHED] or 0) > 0 then
      local completed_before = row[R_COMPLETED]
      remember(row, row[R_STATE])
      complete(node, row)
      if row[R_COMPLETED] ~= completed_before then
        put_row(place, row, node)
        evaluate(node, row, row[R_STATE], event[PLACE])
      end
      tell_parents(node, row, false, row[R_COMPLETED] ~= completed_before)
    end
  end
end

local function after(composite, row, contributes, changed)
  if composite[UNLOCKS] == 0 then
    tell_parents(composite, row, contributes, changed)
  elseif changed then
    unlock(nodes[composite[UNLOCKS]])
  end
end

-- A late event under an earlier version: complete if its parts were, before the next version held.
local function move_past(composite, known_place, known)
  if composite[A] > 0 or known[R_REACHED] > 0 then
    return
  end
  local done = completed_parts(composite)
  for part, at in ipairs(done) do
    done[part] = at < composite[ENDS_AT] and at or 0
  end
  local reached_at = settle(composite, first_composite(composite, done), event[AT])
  if reached_at > 0 then
    remember(known, known[R_STATE])
    finish(composite, known_place, known, reached_at, true)
    evaluate(composite, known, known[R_STATE], event[PLACE])
    after(composite, known, true, known[R_COMPLETED] > 0)
  end
end

-- Writes what a part says into its composite's state; whether that is news.
local function note_part(composite, place, state, node, row, contributes)
  local completed_at, noted = row and row[R_COMPLETED] or 0, state[1 + place]
  if node[PERIODIC] and noted > 0 then
    completed_at = completed_at > 0 and math.min(completed_at, noted) or noted
  end
  state[1 + place] = composite[PARTS][PART_SIZE * place] and completed_at or math.min(completed_at, 1)
  local is_news = state[1 + place] ~= noted
  if composite[A] > 0 and contributes then
    local stretches = state[1 + #composite[PARTS] / PART_SIZE + place]
    is_news = add_stretch(stretches, event[AT] - composite[A], event[AT]) or is_news
  end
  return is_news
end

local function move_parent(composite, place, own, known_place, known, node, row, contributes)
  remember(known, known and known[R_STATE])
  local begins = not known or known[R_VERSION] < composite[VERSION]
  if begins then
    if not own then
      return
    end
    known = under(composite, known)
  elseif known[R_VERSION] > composite[VERSION] then
    move_past(composite, known_place, known)
    return
  end
  if not note_part(composite, place, known[R_STATE], node, row, contributes) and not begins then
    after(composite, known, contributes, false)
    return
  end
  local completed_before = known[R_COMPLETED]
  local reached_at = settle(composite, known[R_STATE], event[AT])
  finish(composite, known_place, known, reached_at, composite[EXACT])
  evaluate(composite, known, known[R_STATE], event[PLACE])
  after(composite, known, contributes, known[R_COMPLETED] ~= completed_before)
end

-- Whether a step of a part that changed no completion means something to a composite.
local function is_news(composite, own, known, row, contributes)
  if composite[A] > 0 and contributes and not (known and known[R_REACHED] > 0) then
    return true
  end
  local behind = not known or (own and known[R_VERSION] < composite[VERSION])
  return behind and row and row[R_COMPLETED] > 0
end

-- Whether nothing that a completed part does can mean anything to a composite any more.
local function is_done(composite, known)
  local reached = composite[A] == 0 or (known and known[R_REACHED] > 0)
  return known and known[R_VERSION] >= composite[VERSION] and reached and not composite[TIMED]
end

-- Moves the composites that a node is a part of, where its step means something to them. row: false where it has none.
function tell_parents(node, row, contributes, changed)
  local parents, completed = node[PARENTS], row and row[R_COMPLETED] > 0
  if completed and not changed and row[R_TOLD] == node[TOLD] then
    return
  end
  local done = completed
  for parent = 1, #parents, 3 do
    local composite, place, own = nodes[parents[parent]], parents[parent + 1], parents[parent + 2]
    local asks = completed and composite[UNLOCKS] == 0 -- a goal looks at its prerequisites itself
    if not composite[HAS_ROW] then
      if changed then
        unlock(nodes[composite[UNLOCKS]])
      end
    elseif changed or asks or (contributes and (composite[A] > 0 or composite[TIMED])) then
      local known_place = place_of(composite[ID] .. MARK)
      local known = row_at(known_place)
      if changed or is_news(composite, own, known, row, contributes) then
        move_parent(composite, place, own, known_place, known, node, row, contributes)
      elseif composite[TIMED] and contributes then
        tell_parents(composite, known, contributes, false)
      end
      done = done and (not own or composite[UNLOCKS] > 0 or is_done(composite, row_at(known_place)))
    end
  end
  if done then
    row[R_TOLD] = node[TOLD]
  end
end

-- Applies one step of an event to the row of a field.
local function apply_step(this_event, node, mode, place, period, amount, low)
  event = this_event
  local row = row_at(place)
  if not row and mode ~= OWN then -- a user is not in progress by events that would have counted before
    return
  end
  local existing = row
  row = row or new_row(node, period, first_state[node[KERNEL]](node))
  local state, own = open_slot(row, node, mode)
  if not state then
    return
  end
  remember(existing, state)
  local reached_at, contributes = advance[node[KERNEL]](state, node, amount, low, event[AT], event[HASH])
  local under_several = row[R_SLOTS]
  if under_several then
    reached_at = carried(state, node, mode, event[AT], reached_at)
    show_main(row, node)
  end
  if not own then
    put_row(place, row, node)
    return
  end
  local completed_before = row[R_COMPLETED]
  finish(node, place, row, reached_at, node[EXACT] and not under_several)
  evaluate(node, row, state, event[PLACE])
  tell_parents(node, row, contributes, row[R_COMPLETED] ~= completed_before)
end
