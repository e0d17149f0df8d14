--[[
Part of apply_events.lua: the operators that look at events. Each changes a state in place by one step and returns
when (event time) the target was reached, 0 while it is not, and whether the event counts towards the target. They must
agree with models/rules/operators.py, which describes the states.

DEFINES advance, migrated, first_state
]]

local advance, first_state = {}, {}

local function insert_time(times, first, at)
  local index = #times
  while index >= first and times[index] > at do
    times[index + 1] = times[index]
    index = index - 1
  end
  times[index + 1] = at
end

local function cut(list, last)
  for index = #list, last + 1, -1 do
    list[index] = nil
  end
end

-- A: whether it shows no more than the target.
function advance.count(state, node, _, _, at)
  local count = state[#state] + 1
  if node[Node.a] == 1 then
    state[1], state[2] = math.min(count, node[Node.target]), count
  else
    state[1] = count
    cut(state, 1)
  end
  return count >= node[Node.target] and at or 0, true
end

function advance.timed(state, node, _, _, at)
  local target, count = node[Node.target], state[1] + 1
  insert_time(state, 2, at)
  cut(state, target + 1)
  state[1] = count
  if count < target then
    return 0, true
  end
  return #state == target + 1 and state[#state] or at, true
end

-- A: the window, B: how many times it keeps.
function advance.last(state, node, _, _, at)
  local target, best = node[Node.target], state[1]
  if best >= target and at >= state[#state] then
    return state[#state], true
  end
  insert_time(state, 2, at)
  local first, reached = 2, 0
  for index = 2, #state do
    while state[index] - state[first] > node[Node.a] do
      first = first + 1
    end
    best = math.max(best, index - first + 1)
    if index - first + 1 >= target then
      reached = state[index]
      cut(state, index)
      break
    end
  end
  local extra = #state - 1 - node[Node.b]
  if extra > 0 then
    for index = 2, #state do
      state[index] = state[index + extra]
    end
  end
  state[1] = math.min(best, target)
  return reached, true
end

-- A: the low half of the target.
function advance.sum(state, node, high, low, at)
  local total_low = state[2] + low
  local carry = math.floor(total_low / Limit.SUM_BASE)
  state[1], state[2] = state[1] + high + carry, total_low - carry * Limit.SUM_BASE
  local reached = state[1] > node[Node.target] or (state[1] == node[Node.target] and state[2] >= node[Node.a])
  return reached and at or 0, true
end

function advance.latest(state, node, value, _, at, hash)
  if #state == 0 or at > state[2] or (at == state[2] and hash > state[3]) then
    state[1], state[2], state[3] = value, at, hash
  end
  local reached = value >= node[Node.target]
  return reached and at or 0, reached
end

function advance.max(state, node, value, _, at)
  state[1] = math.max(state[1] or value, value)
  local reached = value >= node[Node.target]
  return reached and at or 0, reached
end

function advance.min(state, node, value, _, at)
  state[1] = math.min(state[1] or value, value)
  local reached = value <= node[Node.target]
  return reached and at or 0, reached
end

function advance.distinct(state, node, mark, _, at)
  local target, index = node[Node.target], 2
  while index <= #state and state[index] ~= mark do
    index = index + 2
  end
  if index > #state or state[index + 1] > at then
    -- Towards the front from where it was, or from behind the last one.
    while index > 2 and (state[index - 1] > at or (state[index - 1] == at and state[index - 2] > mark)) do
      state[index], state[index + 1] = state[index - 2], state[index - 1]
      index = index - 2
    end
    state[index], state[index + 1] = mark, at
    cut(state, 2 * target + 1)
  end
  state[1] = (#state - 1) / 2
  return state[1] == target and state[#state] or 0, true
end

-- The runs of a state (start, length, ...) with one more period, joined to its neighbours.
local function add_period(state, period)
  local index = #state - 1 -- of the newest run that begins at the period or before it
  while index >= 2 and state[index] > period do
    index = index - 2
  end
  if index >= 2 and period < state[index] + state[index + 1] then
    return
  end
  local joins_before = index >= 2 and state[index] + state[index + 1] == period
  local joins_after = state[index + 2] == period + 1
  if joins_before and joins_after then
    state[index + 1] = state[index + 1] + 1 + state[index + 3]
    table.remove(state, index + 2)
    table.remove(state, index + 2)
  elseif joins_before then
    state[index + 1] = state[index + 1] + 1
  elseif joins_after then
    state[index + 2], state[index + 3] = period, state[index + 3] + 1
  else
    table.insert(state, index + 2, period)
    table.insert(state, index + 3, 1)
  end
  if #state > 2 * Limit.MAX_RUNS + 1 then
    table.remove(state, 2)
    table.remove(state, 2)
  end
end

-- A: how many missed periods it survives.
function advance.streak(state, node, period, _, at)
  add_period(state, period)
  local longest, current = 0, 0
  for last = 2, #state, 2 do
    local missed = 0
    current = state[last + 1]
    for index = last - 2, 2, -2 do
      missed = missed + state[index + 2] - state[index] - state[index + 1]
      if missed > node[Node.a] then
        break
      end
      current = current + state[index + 1]
    end
    longest = math.max(longest, current)
  end
  state[1] = current
  return longest >= node[Node.target] and at or 0, true
end

-- Takes the earliest possible time of each step in turn; how many steps that makes, and the time of the last.
local function follow(state, start, limit, strict)
  local at = start
  for step = 3, #state do
    local after
    for _, time in ipairs(state[step]) do
      if time > at or (time == at and not strict) then
        after = time
        break
      end
    end
    if not after or (limit and after > limit) then
      return step - 2, at
    end
    at = after
  end
  return #state - 1, at
end

-- A: within which duration, 0 without one; B: whether a step must come after the one before.
function advance.sequence(state, node, step, _, at)
  insert_time(state[step + 1], 1, at)
  local within, longest, reached = node[Node.a] > 0, 0, 0
  for index = 1, within and #state[2] or math.min(1, #state[2]) do
    local start = state[2][index]
    local length, stop = follow(state, start, within and start + node[Node.a], node[Node.b] == 1)
    longest = math.max(longest, length)
    if length == #state - 1 and (reached == 0 or stop < reached) then
      reached = stop
    end
  end
  for list = 2, #state do
    local times = state[list]
    while reached > 0 and #times > 0 and times[#times] > reached do
      times[#times] = nil
    end
    if #times > Limit.MAX_STEP_TIMES then
      table.remove(times, 2)
    end
  end
  state[1] = longest
  return reached, step == #state - 1
end

-- When a step reaches the target of a row under several versions, whose state may hold progress from another one.
local function migrated(state, node, mode, at, reached_at)
  local reducer = node[Node.reducer]
  if reducer == 'latest' and mode == Mode.MIGRATED then
    return 0
  elseif reached_at > 0 then
    return reached_at
  end
  local best, target = state[1], node[Node.target]
  local meets = (reducer == 'max' and best >= target) or (reducer == 'min' and best <= target)
  return meets and at or 0
end

local function zero() return { 0 } end
local function nothing() return {} end
for _, name in ipairs({ 'count', 'timed', 'last', 'distinct', 'streak' }) do
  first_state[name] = zero
end
for _, name in ipairs({ 'latest', 'max', 'min' }) do
  first_state[name] = nothing
end
function first_state.sum() return { 0, 0 } end
function first_state.sequence(node)
  local state = { 0 }
  for step = 1, node[Node.steps] do
    state[step + 1] = {}
  end
  return state
end
