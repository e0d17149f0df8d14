-- The operator days: models/rules/operators/days.py describes it.
first_state.days = zero

function advance.days(state, node, period, _, at)
  local min, kept = node[Days.min], node[Days.kept]
  local index = #state - 1 -- of the newest period that is not after this one
  while index >= 2 and state[index] > period do
    index = index - 2
  end
  local is_full = #state > 2 * kept
  if index >= 2 and state[index] == period then
    if state[index + 1] < min then
      state[index + 1] = state[index + 1] + 1
      state[1] = state[1] + (state[index + 1] == min and 1 or 0)
    end
  elseif index >= 2 or not is_full then -- else it is older than all that events may still come for
    table.insert(state, index + 2, period)
    table.insert(state, index + 3, 1)
    state[1] = state[1] + (min == 1 and 1 or 0)
    if is_full then
      table.remove(state, 2)
      table.remove(state, 2)
    end
  end
  return state[1] >= node[Node.target] and at or 0, true
end
