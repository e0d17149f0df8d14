-- The operator sum: models/rules/operators/sum.py describes it.
function first_state.sum() return { 0, 0 } end

function advance.sum(state, node, high, low, at)
  local total_low = state[2] + low
  local carry = math.floor(total_low / Sum.BASE)
  state[1], state[2] = state[1] + high + carry, total_low - carry * Sum.BASE
  local reached = state[1] > node[Node.target] or (state[1] == node[Node.target] and state[2] >= node[Sum.target_low])
  return reached and at or 0, true
end
