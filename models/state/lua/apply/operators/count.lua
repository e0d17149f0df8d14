-- The operator count: models/rules/operators/count.py describes it.
first_state.count, first_state.timed, first_state.last = zero, zero, zero

function advance.count(state, node, _, _, at)
  local count = state[#state] + 1
  if node[Count.stops_at_target] == 1 then
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

function advance.last(state, node, _, _, at)
  local target, best = node[Node.target], state[1]
  if best >= target and at >= state[#state] then
    return state[#state], true
  end
  insert_time(state, 2, at)
  local first, reached = 2, 0
  for index = 2, #state do
    while state[index] - state[first] > node[Count.window] do
      first = first + 1
    end
    best = math.max(best, index - first + 1)
    if index - first + 1 >= target then
      reached = state[index]
      cut(state, index)
      break
    end
  end
  local extra = #state - 1 - node[Count.kept]
  if extra > 0 then
    for index = 2, #state do
      state[index] = state[index + extra]
    end
  end
  state[1] = math.min(best, target)
  return reached, true
end
