--[[
Part of apply_events.lua: what is written down of a step, for the evaluations of PostgreSQL. Under several versions it
tells of the version that the step moved.

DEFINES remember, evaluate
]]
-- How a row, false where there was none, and the state that a step will move stood before it.
local was_status, was_reached, was_first, was_second

local function remember(row, state)
  was_status, was_reached = 'not_started', 0
  if row then
    was_status, was_reached = row[Row.completed_at] > 0 and 'completed' or 'in_progress', row[Row.reached_at] or 0
  end
  was_first, was_second = state and state[1] or 0, state and state[2] or 0
end

-- Notes what the event at a position of the batch meant to a row: a change of status, or any step where all are wanted.
local function evaluate(node, row, state, index)
  if node[Node.is_part] or evaluation_log == 0 then
    return
  end
  local is_sum, status = node[Node.operator] == 'sum', row[Row.completed_at] > 0 and 'completed' or 'in_progress'
  local decision
  if status ~= was_status then
    decision = status == 'completed' and 'completed' or 'started'
  elseif was_reached == 0 and row[Row.reached_at] > 0 then
    decision = 'reached'
  elseif evaluation_log == 2 and row[Row.rule_version] == node[Node.version] then
    local same = was_first == state[1] and (not is_sum or was_second == state[2])
    decision = same and 'unchanged' or 'advanced'
  else
    return
  end
  evaluations[#evaluations + 1] = LoggedEvaluation{
    event = index,
    goal_id = row[Row.goal_id],
    period = row[Row.period],
    challenge_id = row[Row.challenge_id],
    rule_version = node[Node.version],
    status_before = was_status,
    status = status,
    progress_before = is_sum and { was_first, was_second } or was_first,
    progress_after = is_sum and { state[1], state[2] } or state[1] or 0,
    decision = decision,
  }
end
