--[[
Part of apply_events.lua: what is written down of a step, for the evaluations of PostgreSQL. Under several versions it
tells of the version that the step moved.

DEFINES remember, evaluate
USES    evaluations, evaluation_log, IS_PART, OPERATOR, VERSION, R_GOAL, R_PERIOD, R_CHALLENGE, R_VERSION, R_COMPLETED,
        R_REACHED
]]
-- How a row, false where there was none, and the state that a step will move stood before it.
local was_status, was_reached, was_first, was_second

local function remember(row, state)
  was_status, was_reached = 'not_started', 0
  if row then
    was_status, was_reached = row[R_COMPLETED] > 0 and 'completed' or 'in_progress', row[R_REACHED] or 0
  end
  was_first, was_second = state and state[1] or 0, state and state[2] or 0
end

-- Notes what the event at a place of the batch meant to a row: a change of status, or any step where all are wanted.
local function evaluate(node, row, state, place)
  if node[IS_PART] or evaluation_log == 0 then
    return
  end
  local is_sum, status = node[OPERATOR] == 'sum', row[R_COMPLETED] > 0 and 'completed' or 'in_progress'
  local decision
  if status ~= was_status then
    decision = status == 'completed' and 'completed' or 'started'
  elseif was_reached == 0 and row[R_REACHED] > 0 then
    decision = 'reached'
  elseif evaluation_log == 2 and row[R_VERSION] == node[VERSION] then
    local same = was_first == state[1] and (not is_sum or was_second == state[2])
    decision = same and 'unchanged' or 'advanced'
  else
    return
  end
  evaluations[#evaluations + 1] = {
    place, row[R_GOAL], row[R_PERIOD], row[R_CHALLENGE], node[VERSION], was_status, status,
    is_sum and { was_first, was_second } or was_first, is_sum and { state[1], state[2] } or state[1] or 0, decision,
  }
end
