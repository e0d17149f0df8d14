"""The operators as pure Python: the reference that ``models/hot/lua/apply_events.lua`` must agree with (promise P11).

| operator | state | progress | complete | order-free because |
|---|---|---|---|---|
| ``count`` | [n], or min(n, target) where it stops there | n | n >= target | adding commutes |
| ``sum`` | [high, low], see ``amounts.py`` | their number | number >= target | exact integers, gains only |
| ``latest`` | [value, time, identity hash] | value | any value ever >= target | keyed by (time, hash) |

``completed_at`` is the event time of the completing event: for ``latest`` the earliest event at or above the target,
whatever the order of arrival; for ``count`` and ``sum`` the event whose arrival reached the target.
"""

from decimal import Decimal
from typing import Any

from models.events import Event, identity_hash
from models.rules.amounts import BASE, join, split
from models.rules.matching import Step
from models.rules.rows import Row


def first_row(step: Step, *, now: int) -> Row:
    """The row of a goal that no event has moved yet."""
    goal = step.goal
    state: dict[str, list[Any]] = {"count": [0], "sum": [0, 0], "latest": []}
    return Row(
        goal_id=goal.goal_id,
        period=step.period,
        challenge_id=goal.challenge_id,
        operator=goal.operator,
        rule_version=goal.version,
        stamp=0,
        completed_at=0,
        created_at=now,
        updated_at=now,
        state=state[goal.operator],
    )


def advance(row: Row, step: Step, event: Event, *, stamp: int, now: int) -> Row:
    """The row after one step. Never takes a completion back."""
    state, reached = _OPERATORS[step.goal.operator](row.state, step, event)
    completed_at = row.completed_at
    if reached and (not completed_at or (step.goal.operator == "latest" and event.occurred_at < completed_at)):
        completed_at = event.occurred_at
    return row._replace(
        state=state,
        completed_at=completed_at,
        rule_version=step.goal.version,
        challenge_id=step.goal.challenge_id,
        stamp=stamp,
        updated_at=now,
    )


def progress_of(row: Row) -> int | float | Decimal:
    """The number a row shows: an int when it is whole."""
    if row.operator == "sum":
        return join(row.state[0], row.state[1])
    value: float = row.state[0]
    return int(value) if value == int(value) else value


def _count(state: list[Any], step: Step, _event: Event) -> tuple[list[Any], bool]:
    goal = step.goal
    count = state[0] if goal.stops_at_target and state[0] >= goal.target else state[0] + 1
    return [count], count >= goal.target


def _sum(state: list[Any], step: Step, _event: Event) -> tuple[list[Any], bool]:
    carry, low = divmod(state[1] + step.low, BASE)
    high = state[0] + int(step.amount) + carry
    return [high, low], (high, low) >= split(step.goal.target)


def _latest(state: list[Any], step: Step, event: Event) -> tuple[list[Any], bool]:
    seen = [step.amount, event.occurred_at, identity_hash(event.event_id)]
    newest = seen if not state or seen[1:] > state[1:] else state
    return newest, step.amount >= step.goal.target


_OPERATORS = {"count": _count, "sum": _sum, "latest": _latest}
