--[[
Part of apply_events.lua: what a step means to its row, to the goals that wait for it and to the composites it is a
part of. It must agree with models/rules/engine.py.

DEFINES apply_step
]]
local event -- at hand
local tell_parents, finish

-- What the parts of a composite say: their completion times, 0 for those not complete.
local function completed_parts(node)
  local completed, parts = {}, node[Node.parts]
  for before = 0, #parts - 1, Part.SIZE do
    local id, periodic, first = parts[before + Part.node_id], parts[before + Part.periodic], 0
    for _, row_index in ipairs(periodic and indexes_of(id) or { index_of(id .. Text.MARK) }) do
      local row = row_at(row_index)
      local at = row and row[Row.completed_at] or 0
      first = (first == 0 or (at > 0 and at < first)) and at or first
    end
    completed[#completed + 1] = first
  end
  return completed
end

-- Whether a part's time of completion is a function of the set of events.
local function is_exact_part(composite, index)
  return composite[Node.parts][Part.SIZE * (index - 1) + Part.exact]
end

-- A composite's row under a version it was not under before, from what its parts say now.
local function under(node, row)
  local noted = completed_parts(node)
  for index, at in ipairs(noted) do
    noted[index] = is_exact_part(node, index) and at or math.min(at, 1)
  end
  local state = first_composite(node, noted)
  if not row then
    return new_row(node, '', state)
  end
  row[Row.state], row[Row.rule_version], row[Row.version_states] = state, node[Node.version], false
  row[Row.operator] = node[Node.operator]
  return row
end

-- When all prerequisites were complete, 0 while they are not.
local function gate_opened(gate)
  if not gate[Node.has_row] then
    local opened_at = 0
    for _, at in ipairs(completed_parts(gate)) do
      if at == 0 then
        return 0
      end
      opened_at = math.max(opened_at, at)
    end
    return opened_at
  end
  local row_index = index_of(gate[Node.node_id] .. Text.MARK)
  local row = row_at(row_index)
  if not row or row[Row.rule_version] < gate[Node.version] then
    row = under(gate, row)
    finish(gate, row_index, row, find_completion(gate, row[Row.state], event[Event.occurred_at]), gate[Node.exact])
  end
  return row[Row.completed_at]
end

-- Completes a row whose target was reached, unless prerequisites are missing.
local function complete(node, row)
  local gate = nodes[node[Node.gate]]
  local opened_at = gate and gate_opened(gate)
  local completed_at = math.max(row[Row.reached_at], opened_at or 0)
  if opened_at ~= 0 and (row[Row.completed_at] == 0 or completed_at < row[Row.completed_at]) then
    if row[Row.completed_at] == 0 and not node[Node.is_part] then
      unlocks[#unlocks + 1] = LoggedUnlock{
        event = event[Event.position],
        goal_id = row[Row.goal_id],
        period = row[Row.period],
        challenge_id = node[Node.challenge_id],
        rule_version = node[Node.version],
        completed_at = completed_at,
      }
    end
    row[Row.completed_at] = completed_at
  end
end

-- Notes that the target was reached, and whether that completes the row; keeps the row.
function finish(node, index, row, reached_at, exact)
  local reached = row[Row.reached_at] or 0
  if reached_at > 0 and (reached == 0 or (exact and reached_at < reached)) then
    row[Row.reached_at] = reached_at
    complete(node, row)
  elseif reached > 0 and row[Row.completed_at] == 0 then
    complete(node, row)
  end
  put_row(index, row, node)
end

-- Completes what was reached and waited for its prerequisites.
local function unlock(node)
  local id = node[Node.node_id]
  for _, index in ipairs(node[Node.periodic] and indexes_of(id) or { index_of(id .. Text.MARK) }) do
    local row = row_at(index)
    if row and (row[Row.reached_at] or 0) > 0 then
      local completed_before = row[Row.completed_at]
      remember(row, row[Row.state])
      complete(node, row)
      if row[Row.completed_at] ~= completed_before then
        put_row(index, row, node)
        evaluate(node, row, row[Row.state], event[Event.position])
      end
      tell_parents(node, row, false, row[Row.completed_at] ~= completed_before)
    end
  end
end

local function after(composite, row, contributes, changed)
  if composite[Node.unlocks] == 0 then
    tell_parents(composite, row, contributes, changed)
  elseif changed then
    unlock(nodes[composite[Node.unlocks]])
  end
end

-- A late event under an earlier version: complete if its parts were, before the next version held.
local function move_past(composite, known_index, known)
  if composite[Composite.within] > 0 or known[Row.reached_at] > 0 then
    return
  end
  local done = completed_parts(composite)
  for part, at in ipairs(done) do
    done[part] = at < composite[Node.ends_at] and at or 0
  end
  local reached_at = find_completion(composite, first_composite(composite, done), event[Event.occurred_at])
  if reached_at > 0 then
    remember(known, known[Row.state])
    finish(composite, known_index, known, reached_at, true)
    evaluate(composite, known, known[Row.state], event[Event.position])
    after(composite, known, true, known[Row.completed_at] > 0)
  end
end

-- Writes what a part says into its composite's state; whether that is news.
local function note_part(composite, index, state, node, row, contributes)
  local completed_at, noted = row and row[Row.completed_at] or 0, state[1 + index]
  if node[Node.periodic] and noted > 0 then
    completed_at = completed_at > 0 and math.min(completed_at, noted) or noted
  end
  state[1 + index] = is_exact_part(composite, index) and completed_at or math.min(completed_at, 1)
  local is_news = state[1 + index] ~= noted
  if composite[Composite.within] > 0 and contributes then
    local stretches = state[1 + #composite[Node.parts] / Part.SIZE + index]
    is_news = add_stretch(stretches, event[Event.occurred_at] - composite[Composite.within], event[Event.occurred_at]) or is_news
  end
  return is_news
end

local function move_parent(composite, index, own, known_index, known, node, row, contributes)
  remember(known, known and known[Row.state])
  local begins = not known or known[Row.rule_version] < composite[Node.version]
  if begins then
    if not own then
      return
    end
    known = under(composite, known)
  elseif known[Row.rule_version] > composite[Node.version] then
    move_past(composite, known_index, known)
    return
  end
  if not note_part(composite, index, known[Row.state], node, row, contributes) and not begins then
    after(composite, known, contributes, false)
    return
  end
  local completed_before = known[Row.completed_at]
  local reached_at = find_completion(composite, known[Row.state], event[Event.occurred_at])
  finish(composite, known_index, known, reached_at, composite[Node.exact])
  evaluate(composite, known, known[Row.state], event[Event.position])
  after(composite, known, contributes, known[Row.completed_at] ~= completed_before)
end

-- Whether a step of a part that changed no completion means something to a composite.
local function is_news(composite, own, known, row, contributes)
  if composite[Composite.within] > 0 and contributes and not (known and known[Row.reached_at] > 0) then
    return true
  end
  local behind = not known or (own and known[Row.rule_version] < composite[Node.version])
  return behind and row and row[Row.completed_at] > 0
end

-- Whether nothing that a completed part does can mean anything to a composite any more.
local function is_done(composite, known)
  local reached = composite[Composite.within] == 0 or (known and known[Row.reached_at] > 0)
  return known and known[Row.rule_version] >= composite[Node.version] and reached and not composite[Node.timed]
end

-- Moves the composites that a node is a part of, where its step means something to them. row: false where it has none.
function tell_parents(node, row, contributes, changed)
  local parents, completed = node[Node.parents], row and row[Row.completed_at] > 0
  if completed and not changed and row[Row.told] == node[Node.told] then
    return
  end
  local done = completed
  for before = 0, #parents - 1, Parent.SIZE do
    local composite, index = nodes[parents[before + Parent.node]], parents[before + Parent.position]
    local own = parents[before + Parent.is_current]
    local asks = completed and composite[Node.unlocks] == 0 -- a goal looks at its prerequisites itself
    if not composite[Node.has_row] then
      if changed then
        unlock(nodes[composite[Node.unlocks]])
      end
    elseif changed or asks or (contributes and (composite[Composite.within] > 0 or composite[Node.timed])) then
      local known_index = index_of(composite[Node.node_id] .. Text.MARK)
      local known = row_at(known_index)
      if changed or is_news(composite, own, known, row, contributes) then
        move_parent(composite, index, own, known_index, known, node, row, contributes)
      elseif composite[Node.timed] and contributes then
        tell_parents(composite, known, contributes, false)
      end
      done = done and (not own or composite[Node.unlocks] > 0 or is_done(composite, row_at(known_index)))
    end
  end
  if done then
    row[Row.told] = node[Node.told]
  end
end

-- Applies one step of an event to the row of a field.
local function apply_step(this_event, node, mode, index, period, amount, low)
  event = this_event
  local row = row_at(index)
  if not row and mode ~= Mode.CURRENT then -- a user is not in progress by events that would have counted before
    return
  end
  local existing = row
  row = row or new_row(node, period, first_state[node[Node.reducer]](node))
  local state, own = open_version_state(row, node, mode)
  if not state then
    return
  end
  remember(existing, state)
  local at, hash = event[Event.occurred_at], event[Event.identity_hash]
  local reached_at, contributes = advance[node[Node.reducer]](state, node, amount, low, at, hash)
  local under_several = row[Row.version_states]
  if under_several then
    local adjust = migrated[node[Node.reducer]]
    reached_at = adjust and adjust(state, node, mode, at, reached_at) or reached_at
    show_main(row, node)
  end
  if not own then
    put_row(index, row, node)
    return
  end
  local completed_before = row[Row.completed_at]
  finish(node, index, row, reached_at, node[Node.exact] and not under_several)
  evaluate(node, row, state, event[Event.position])
  tell_parents(node, row, contributes, row[Row.completed_at] ~= completed_before)
end
