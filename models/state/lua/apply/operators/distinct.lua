-- The operator distinct: models/rules/operators/distinct.py describes it.
first_state.distinct = zero

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
