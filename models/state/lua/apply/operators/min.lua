-- The operator min: models/rules/operators/min.py describes it.
first_state.min = nothing

function advance.min(state, node, value, _, at)
  state[1] = math.min(state[1] or value, value)
  local reached = value <= node[Node.target]
  return reached and at or 0, reached
end

-- The best value counts whichever version it was made under.
function migrated.min(state, node, _, at, reached_at)
  return (reached_at > 0 and reached_at) or (state[1] <= node[Node.target] and at) or 0
end
