--[[
Part of apply_events.lua: the state of all, any and at_least. It must agree with models/rules/composites.py, which
describes it.

DEFINES first_composite, add_stretch, settle
]]

-- completed: the completion time of each part, 0 while it is not.
local function first_composite(node, completed)
  local state, count = { 0 }, #completed
  for place, at in ipairs(completed) do
    state[1 + place] = at
    if node[Node.a] > 0 then
      state[1 + count + place] = at > 0 and { at - node[Node.a], at } or {}
    end
  end
  return state
end

-- Merges the moments from begin to stop into a list of [begin, end] pairs, oldest first; whether that is news.
local function add_stretch(stretches, begin, stop)
  local place = 1
  while place <= #stretches and stretches[place + 1] < begin do
    place = place + 2
  end
  if place <= #stretches and stretches[place] <= begin and stretches[place + 1] >= stop then
    return false
  end
  while place <= #stretches and stretches[place] <= stop do
    begin, stop = math.min(begin, stretches[place]), math.max(stop, stretches[place + 1])
    table.remove(stretches, place)
    table.remove(stretches, place)
  end
  table.insert(stretches, place, begin)
  table.insert(stretches, place + 1, stop)
  if #stretches > 2 * Limit.MAX_STRETCHES then
    table.remove(stretches, 1)
    table.remove(stretches, 1)
  end
  return true
end

-- The largest number of parts that one stretch of the duration finds complete.
local function overlap(within, state, parts)
  local begins, stops = {}, {}
  for place = 2, parts + 1 do
    local completed_at, stretches = state[place], state[parts + place]
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
local function settle(node, state, event_at)
  local target, parts = node[Node.target], #node[Node.parts] / Part.SIZE
  if node[Node.a] == 0 then
    local done = {}
    for place = 2, parts + 1 do
      if state[place] > 0 then
        done[#done + 1] = state[place]
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
  for place = 2, parts + 1 do
    complete = complete + (state[place] > 0 and 1 or 0)
  end
  if math.min(complete, target) > state[1] then -- no stretch can find more parts complete than there are
    state[1] = math.max(state[1], math.min(overlap(node[Node.a], state, parts), target))
  end
  if state[1] < target then
    return 0
  end
  for place = parts + 2, 2 * parts + 1 do
    state[place] = {}
  end
  return event_at
end
