--[[
Part of apply_events.lua: the state of all, any and at_least. It must agree with models/rules/composites.py, which
describes it.

DEFINES first_composite, add_stretch, find_completion
]]

-- completed: the completion time of each part, 0 while it is not.
local function first_composite(node, completed)
  local state, count = { 0 }, #completed
  for index, at in ipairs(completed) do
    state[1 + index] = at
    if node[Composite.within] > 0 then
      state[1 + count + index] = at > 0 and { at - node[Composite.within], at } or {}
    end
  end
  return state
end

-- Merges the times from begin to stop into a list of [begin, end] pairs, oldest first; whether that is news.
local function add_stretch(stretches, begin, stop)
  local index = 1
  while index <= #stretches and stretches[index + 1] < begin do
    index = index + 2
  end
  if index <= #stretches and stretches[index] <= begin and stretches[index + 1] >= stop then
    return false
  end
  while index <= #stretches and stretches[index] <= stop do
    begin, stop = math.min(begin, stretches[index]), math.max(stop, stretches[index + 1])
    table.remove(stretches, index)
    table.remove(stretches, index)
  end
  table.insert(stretches, index, begin)
  table.insert(stretches, index + 1, stop)
  if #stretches > 2 * Composite.MAX_STRETCHES then
    table.remove(stretches, 1)
    table.remove(stretches, 1)
  end
  return true
end

-- The largest number of parts that one stretch of the duration finds complete.
local function overlap(within, state, parts)
  local begins, stops = {}, {}
  for index = 2, parts + 1 do
    local completed_at, stretches = state[index], state[parts + index]
    for pair = 1, completed_at > 0 and #stretches or 0, 2 do
      local begin, stop = math.max(stretches[pair], completed_at - within), stretches[pair + 1]
      if begin <= stop then
        begins[#begins + 1], stops[#stops + 1] = begin, stop
      end
    end
  end
  table.sort(begins)
  table.sort(stops)
  local most, closed = 0, 0
  for opened, begin in ipairs(begins) do
    while stops[closed + 1] < begin do -- a stretch that stops where another begins overlaps with it
      closed = closed + 1
    end
    most = math.max(most, opened - closed)
  end
  return most
end

-- Brings the progress up to date; returns when the composite was reached, 0 while it is not.
local function find_completion(node, state, event_at)
  local target, parts = node[Node.target], #node[Node.parts] / Part.SIZE
  if node[Composite.within] == 0 then
    local done = {}
    for index = 2, parts + 1 do
      if state[index] > 0 then
        done[#done + 1] = state[index]
      end
    end
    table.sort(done)
    state[1] = math.min(#done, target)
    if #done < target then
      return 0
    end
    return node[Node.exact] and done[target] or event_at
  end
  local complete = 0
  for index = 2, parts + 1 do
    complete = complete + (state[index] > 0 and 1 or 0)
  end
  if math.min(complete, target) > state[1] then -- no stretch can find more parts complete than there are
    state[1] = math.max(state[1], math.min(overlap(node[Composite.within], state, parts), target))
  end
  if state[1] < target then
    return 0
  end
  for index = parts + 2, 2 * parts + 1 do
    state[index] = {}
  end
  return event_at
end
