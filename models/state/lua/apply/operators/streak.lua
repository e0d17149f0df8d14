-- The operator streak: models/rules/operators/streak.py describes it.
first_state.streak = zero

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
  if #state > 2 * Streak.MAX_RUNS + 1 then
    table.remove(state, 2)
    table.remove(state, 2)
  end
end

function advance.streak(state, node, period, _, at)
  add_period(state, period)
  local longest, current = 0, 0
  for last = 2, #state, 2 do
    local missed = 0
    current = state[last + 1]
    for index = last - 2, 2, -2 do
      missed = missed + state[index + 2] - state[index] - state[index + 1]
      if missed > node[Streak.grace] then
        break
      end
      current = current + state[index + 1]
    end
    longest = math.max(longest, current)
  end
  state[1] = current
  return longest >= node[Node.target] and at or 0, true
end
