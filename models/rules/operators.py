"""The operators as pure Python: the reference that ``models/state/lua/apply/operators.lua`` must agree with (P11).

A state begins with the progress it shows (``sum``: with its two halves). How each stays a function of the set of
events, what bounds its size, and when it counts as reached, is in docs/reference/rules.md; ``composites.py`` has the
operators over other rules.

| operator | state |
|---|---|
| ``count`` | [n], with ``stops_at_target`` [min(n, target), n] |
| ``count`` within a duration | [n, the ``target`` earliest times] |
| ``count`` with ``last`` | [best window, times, none later than the one that reached the target] |
| ``sum`` | [high, low], see ``amounts.py`` |
| ``latest`` | [value, time, identity hash] |
| ``max``, ``min`` | [value] |
| ``distinct`` | [values, (mark, first time) of the ``target`` values that came first] |
| ``streak`` | [current streak, (first period, length) of the newest runs] |
| ``sequence`` | [steps, one list of times for each step] |
"""

from bisect import insort
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from models.events import Event, identity_hash
from models.rules.amounts import BASE, join, split
from models.rules.graph import Node
from models.rules.matcher import Step
from models.rules.rows import Row
from models.rules.sequences import chain
from models.rules.streaks import streak_up_to, with_period
from models.wire import Limit, Mode


class Outcome(NamedTuple):
    """What a step did to a state."""

    reached_at: int
    """When (event time) the target was reached, 0 while it is not."""
    contributes: bool = True
    """Whether the event counts towards the target: a score below a ``max``'s does not."""


def first_state(node: Node) -> list[Any]:
    """The state of a node that no event has moved yet."""
    if node.rule.op == "sum":
        return [0, 0]
    if node.rule.op in ("latest", "max", "min"):
        return []
    if node.rule.op == "sequence":
        return [0, *([] for _ in node.rule.events)]
    return [0]


def progress_of(row: Row) -> int | float | Decimal:
    """The number a row shows: an int when it is whole."""
    return progress_in(row.operator, row.state)


def progress_in(operator: str, state: list[Any]) -> int | float | Decimal:
    """The number that a state of an operator shows."""
    if operator == "sum":
        return join(state[0], state[1])
    value: float = state[0] if state else 0
    return int(value) if value == int(value) else value


def advance(state: list[Any], step: Step, event: Event) -> Outcome:
    """Change a state by one step."""
    return _REDUCERS[step.node.reducer](state, step, event)


def migrated(state: list[Any], step: Step, event: Event, outcome: Outcome) -> Outcome:
    """The outcome of a step on a row under several versions, whose state may hold progress from another one.

    The best value counts whichever version it was made under. A newest value does not: what it was before is not
    known, so only events of the version itself complete a ``latest``.
    """
    rule = step.node.rule
    if rule.op == "latest" and step.mode == Mode.MIGRATED:
        return outcome._replace(reached_at=0)
    best = rule.op in ("max", "min") and not outcome.reached_at
    if best and (state[0] >= rule.target if rule.op == "max" else state[0] <= rule.target):
        return outcome._replace(reached_at=event.occurred_at)
    return outcome


def _count(state: list[Any], step: Step, event: Event) -> Outcome:
    rule = step.node.rule
    count = state[-1] + 1
    state[:] = [min(count, rule.target), count] if rule.stops_at_target else [count]
    return Outcome(event.occurred_at if count >= rule.target else 0)


def _timed(state: list[Any], step: Step, event: Event) -> Outcome:
    target = int(step.node.rule.target)
    count, times = state[0] + 1, state[1:]
    insort(times, event.occurred_at)
    del times[target:]
    state[:] = [count, *times]
    if count < target:
        return Outcome(0)
    # Fewer times than counted: the count began before anyone asked when.
    return Outcome(times[-1] if len(times) == target else event.occurred_at)


def _last(state: list[Any], step: Step, event: Event) -> Outcome:
    rule = step.node.rule
    target, best, times = int(rule.target), state[0], state[1:]
    if best >= target and event.occurred_at >= times[-1]:
        return Outcome(times[-1])
    insort(times, event.occurred_at)
    first = reached = 0
    for index, at in enumerate(times):
        while at - times[first] > (rule.last or 0):
            first += 1
        best = max(best, index - first + 1)
        if index - first + 1 >= target:
            reached = at
            del times[index + 1 :]
            break
    state[:] = [min(best, target), *times[-step.node.kept_times :]]
    return Outcome(reached)


def _sum(state: list[Any], step: Step, event: Event) -> Outcome:
    carry, low = divmod(state[1] + step.low, BASE)
    state[:] = [state[0] + int(step.amount) + carry, low]
    return Outcome(event.occurred_at if tuple(state) >= split(step.node.rule.target) else 0)


def _latest(state: list[Any], step: Step, event: Event) -> Outcome:
    seen = [step.amount, event.occurred_at, identity_hash(event.event_id)]
    if not state or seen[1:] > state[1:]:
        state[:] = seen
    return _threshold(event, reached=step.amount >= step.node.rule.target)


def _max(state: list[Any], step: Step, event: Event) -> Outcome:
    state[:] = [max([*state, step.amount])]
    return _threshold(event, reached=step.amount >= step.node.rule.target)


def _min(state: list[Any], step: Step, event: Event) -> Outcome:
    state[:] = [min([*state, step.amount])]
    return _threshold(event, reached=step.amount <= step.node.rule.target)


def _threshold(event: Event, *, reached: bool) -> Outcome:
    return Outcome(event.occurred_at if reached else 0, contributes=reached)


def _distinct(state: list[Any], step: Step, event: Event) -> Outcome:
    target, mark, at = int(step.node.rule.target), step.amount, event.occurred_at
    known = {state[index]: state[index + 1] for index in range(1, len(state), 2)}
    known[mark] = min(at, known.get(mark, at))
    firsts = sorted(((first, value) for value, first in known.items()))[:target]
    state[:] = [len(firsts), *(part for first, value in firsts for part in (value, first))]
    return Outcome(firsts[-1][0] if len(firsts) == target else 0)


def _streak(state: list[Any], step: Step, event: Event) -> Outcome:
    rule, period = step.node.rule, int(step.amount)
    runs = [(state[index], state[index + 1]) for index in range(1, len(state), 2)]
    runs = with_period(runs, period)[-Limit.MAX_RUNS :]
    longest = current = 0
    for last in range(len(runs)):
        current = streak_up_to(runs, last, rule.grace)
        longest = max(longest, current)
    state[:] = [current, *(part for run in runs for part in run)]
    return Outcome(event.occurred_at if longest >= rule.target else 0)


def _sequence(state: list[Any], step: Step, event: Event) -> Outcome:
    rule, index = step.node.rule, int(step.amount)
    lists: list[list[int]] = state[1:]
    insort(lists[index - 1], event.occurred_at)
    length, reached = chain(lists, rule.within, strict=rule.repeats_events)
    for times in lists:
        if reached:
            times[:] = [at for at in times if at <= reached]
        if len(times) > Limit.MAX_STEP_TIMES:
            del times[1]
    state[0] = length
    return Outcome(reached, contributes=index == len(lists))


_REDUCERS: dict[str, Callable[[list[Any], Step, Event], Outcome]] = {
    "count": _count,
    "timed": _timed,
    "last": _last,
    "sum": _sum,
    "latest": _latest,
    "max": _max,
    "min": _min,
    "distinct": _distinct,
    "streak": _streak,
    "sequence": _sequence,
}
