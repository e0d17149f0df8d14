"""``days``: how many calendar days, weeks or months had enough events.

The state is [complete periods, (period, its events) of the newest periods]: so many as events may still come for, and
each with its events up to ``min``. A period that is left out can get no event any more, and has been counted.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from models.events import Event
from models.rules.calendar import period_number
from models.rules.fields import EventFields
from models.rules.forms.bases import LeafShape
from models.rules.forms.values import Zone, whole
from models.rules.goals import Goal
from models.rules.rule import Amount, Facts, Outcome, Rule, Step
from models.rules.windows import too_short

_SHORTEST_US = {"day": 86_400_000_000, "week": 7 * 86_400_000_000, "month": 28 * 86_400_000_000}
_MARGIN = 4
"""Periods beside those of the lateness: that of now, a part of the oldest, and two for users who travel."""


class DaysShape(LeafShape):
    """How many days, weeks or months had enough events, in a row or not."""

    op: Literal["days"]
    unit: Literal["day", "week", "month"] = "day"
    target: Annotated[int, whole(1)]
    min: Annotated[int, whole(1)] = 1
    """How many events a day, week or month needs to count."""
    timezone: Zone = "UTC"
    """Where periods begin: an IANA name, or user for the user's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Days(Rule):
    """How many days, weeks or months had enough events."""

    op = "days"
    shape = DaysShape
    example = "days(lesson.completed, unit=day, min=3) >= 10"
    same_state = ("unit", "min", "timezone")
    numbers_of_lua = {"min": "a", "kept": "b"}

    min: int = 1
    """How many events a period needs."""

    def options(self) -> dict[str, Any]:
        return {"min": self.min if self.min > 1 else None}

    def reach_faults(self, goal: Goal) -> Iterator[tuple[str, str]]:
        return too_short(self, goal)

    def amounts(self, event: Event, fields: EventFields, zone: str) -> Iterable[Amount]:
        """The period's number."""
        return (Amount(period_number(self.unit or "day", event.occurred_at, zone)),)

    def kept_times(self, lateness: int) -> int:
        return -(-lateness // _SHORTEST_US[self.unit or "day"]) + _MARGIN

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        period, kept = int(step.amount), step.node.kept_times
        periods, counts = state[1::2], state[2::2]
        index = bisect_left(periods, period)
        if index == len(periods) or periods[index] != period:
            periods.insert(index, period)
            counts.insert(index, 0)
        if len(periods) <= kept or index > 0:  # else it is older than all that events may still come for
            counts[index] += 1
            state[0] += counts[index] == self.min
            counts[index] = min(counts[index], self.min)
        pairs = list(zip(periods, counts, strict=True))[-kept:]
        state[1:] = [number for pair in pairs for number in pair]
        return Outcome(event.occurred_at if state[0] >= self.target else 0)

    def numbers(self, node: Facts) -> tuple[float, ...]:
        return self.target, self.min, node.kept_times

    def weight(self, node: Facts) -> int:
        return 1 + node.kept_times // 16

    def state_size(self, node: Facts) -> int:
        return 1 + 2 * node.kept_times
