-- The operator max: models/rules/operators/max.py describes it.
first_state.max = nothing

function advance.max(state, node, value, _, at)
  state[1] = math.max(state[1] or value, value)
  local reached = value >= node[Node.target]
  return reached and at or 0, reached
end

-- The best value counts whichever version it was made under.
function migrated.max(state, node, _, at, reached_at)
  return (reached_at > 0 and reached_at) or (state[1] >= node[Node.target] and at) or 0
end
