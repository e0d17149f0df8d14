-- The operator sequence: models/rules/operators/sequence.py describes it.
function first_state.sequence(node)
  local state = { 0 }
  for step = 1, node[Node.steps] do
    state[step + 1] = {}
  end
  return state
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

function advance.sequence(state, node, step, _, at)
  insert_time(state[step + 1], 1, at)
  local within, longest, reached = node[Sequence.within] > 0, 0, 0
  for index = 1, within and #state[2] or math.min(1, #state[2]) do
    local start = state[2][index]
    local length, stop = follow(state, start, within and start + node[Sequence.within], node[Sequence.strict] == 1)
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
    if #times > Sequence.MAX_STEP_TIMES then
      table.remove(times, 2)
    end
  end
  state[1] = longest
  return reached, step == #state - 1
end
