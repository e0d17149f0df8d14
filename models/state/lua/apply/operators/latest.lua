-- The operator latest: models/rules/operators/latest.py describes it.
first_state.latest = nothing

function advance.latest(state, node, value, _, at, hash)
  if #state == 0 or at > state[2] or (at == state[2] and hash > state[3]) then
    state[1], state[2], state[3] = value, at, hash
  end
  local reached = value >= node[Node.target]
  return reached and at or 0, reached
end

-- What the newest value was before is not known, so only events of the version itself complete it.
function migrated.latest(_, _, mode, _, reached_at)
  return mode == Mode.MIGRATED and 0 or reached_at
end
