--[[
Part of apply_events.lua: the operators that look at events. Each changes a state in place by one step and returns
when (event time) the target was reached, 0 while it is not, and whether the event counts towards the target. They must
agree with models/rules/operators/, which describe the states.

first_state makes a state of a node that no event has moved; migrated, where an operator has it, says when a row under
several versions was reached, whose state may hold progress from another one. Each file in operators/ adds its own to
these tables, by the name of its reducer.

DEFINES advance, migrated, first_state
]]

local advance, first_state, migrated = {}, {}, {}

local function insert_time(times, first, at)
  local index = #times
  while index >= first and times[index] > at do
    times[index + 1] = times[index]
    index = index - 1
  end
  times[index + 1] = at
end

local function cut(list, last)
  for index = #list, last + 1, -1 do
    list[index] = nil
  end
end

local function zero() return { 0 } end
local function nothing() return {} end

-- include: operators/*
