--[[
Part of apply_events.lua: what is written down of a step, for the evaluations of PostgreSQL.

DEFINES remember, evaluate
USES    evaluations, evaluation_log, IS_PART, R_GOAL, R_PERIOD, R_CHALLENGE, R_VERSION, R_OPERATOR, R_COMPLETED,
        R_STATE, R_REACHED
]]
-- How a row stood before a step, for its evaluation.
local was_status, was_reached, was_first, was_second

local function remember(row)
  if row then
    was_status, was_reached = row[R_COMPLETED] > 0 and 'completed' or 'in_progress', row[R_REACHED] or 0
    was_first, was_second = row[R_STATE][1], row[R_STATE][2]
  else
    was_status, was_reached, was_first, was_second = 'not_started', 0, 0, 0
  end
end

-- Notes what the event at a place of the batch meant to a row: a change of status, or any step where all are wanted.
local function evaluate(node, row, place)
  if node[IS_PART] or evaluation_log == 0 then
    return
  end
  local is_sum, state = row[R_OPERATOR] == 'sum', row[R_STATE]
  local status = row[R_COMPLETED] > 0 and 'completed' or 'in_progress'
  local decision
  if status ~= was_status then
    decision = status == 'completed' and 'completed' or 'started'
  elseif was_reached == 0 and row[R_REACHED] > 0 then
    decision = 'reached'
  elseif evaluation_log == 2 then
    local same = was_first == state[1] and (not is_sum or was_second == state[2])
    decision = same and 'unchanged' or 'advanced'
  else
    return
  end
  evaluations[#evaluations + 1] = {
    place, row[R_GOAL], row[R_PERIOD], row[R_CHALLENGE], row[R_VERSION], was_status, status,
    is_sum and { was_first, was_second } or was_first or 0, is_sum and { state[1], state[2] } or state[1] or 0, decision,
  }
end
