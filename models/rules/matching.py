"""From an event to the steps it makes: which goals it moves, in which period, by how much.

Both engines start here, so they can only differ in how a step changes a row (``operators.py``, ``apply_events.lua``).
"""

from collections.abc import Iterator
from typing import NamedTuple

from models.events import Event
from models.rules.amounts import split
from models.rules.calendar import period_key
from models.rules.goals import Goal, Rulebook


class Step(NamedTuple):
    """One event's move on one goal."""

    goal: Goal
    period: str
    amount: float
    """``count``: 1. ``sum``: the high half of the amount. ``latest``: the value."""
    low: int
    """``sum``: the low half of the amount; else 0."""


def steps_of(rulebook: Rulebook, event: Event) -> Iterator[Step]:
    """The steps of an event, in the rulebook's order.

    An event without a value does not move a ``latest`` goal and counts 1 for a ``sum``. A negative amount does not
    move a ``sum``: else completion would depend on the order of gains and losses.
    """
    for goal in rulebook.by_event.get(event.event_type, ()):
        if goal.operator == "count":
            yield Step(goal, period_key(goal.per, event.occurred_at), 1, 0)
        elif goal.operator == "latest":
            if event.value is not None:
                yield Step(goal, period_key(goal.per, event.occurred_at), event.value, 0)
        else:
            gain = gain_of(event)
            if gain >= 0:
                yield Step(goal, period_key(goal.per, event.occurred_at), *split(gain))


def gain_of(event: Event) -> float:
    """What a ``sum`` adds: how far the statistic moved, else the event's value, else 1."""
    if event.increment is not None:
        return event.increment
    return 1 if event.value is None else event.value
