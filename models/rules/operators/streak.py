"""``streak``: how many days or weeks in a row.

The state is [current streak, (first period, length) of the newest runs].
"""

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

MAX_RUNS = 64
"""Runs that are remembered: the newest."""


class StreakShape(LeafShape):
    """How many days or weeks in a row."""

    op: Literal["streak"]
    unit: Literal["day", "week"] = "day"
    target: Annotated[int, whole(1)]
    grace: Annotated[int, whole(0, 30)] = 0
    """Missed periods, in all, that the streak survives; they do not count."""
    timezone: Zone = "UTC"
    """Where periods begin: an IANA name, or user for the user's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streak(Rule):
    """How many days or weeks in a row."""

    op = "streak"
    shape = StreakShape
    example = "streak(lesson.completed, unit=day, grace=1) >= 7"
    same_state = ("unit", "timezone")
    numbers_of_lua = {"grace": "a"}
    limits_of_lua = {"MAX_RUNS": MAX_RUNS}

    grace: int = 0
    """How many missed periods, in all, it survives. They protect it but do not count."""

    def options(self) -> dict[str, Any]:
        return {"grace": self.grace or None}

    def reach_faults(self, goal: Goal) -> Iterator[tuple[str, str]]:
        """Missed periods that grace allows do not count."""
        return too_short(self, goal)

    def amounts(self, event: Event, fields: EventFields, zone: str) -> Iterable[Amount]:
        """The period's number."""
        return (Amount(period_number(self.unit or "day", event.occurred_at, zone)),)

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        runs = [(state[position], state[position + 1]) for position in range(1, len(state), 2)]
        runs = _with_period(runs, int(step.amount))[-MAX_RUNS:]
        longest = current = 0
        for last in range(len(runs)):
            current = self._up_to(runs, last)
            longest = max(longest, current)
        state[:] = [current, *(part for run in runs for part in run)]
        return Outcome(event.occurred_at if longest >= self.target else 0)

    def _up_to(self, runs: list[tuple[int, int]], last: int) -> int:
        """The periods that count in the longest streak ending with a run: back over at most ``grace`` missed ones."""
        counted, missed = runs[last][1], 0
        for position in range(last - 1, -1, -1):
            start, length = runs[position]
            missed += runs[position + 1][0] - (start + length)
            if missed > self.grace:
                break
            counted += length
        return counted

    def numbers(self, node: Facts) -> tuple[float, ...]:
        return self.target, self.grace

    def weight(self, node: Facts) -> int:
        return 4 + self.grace

    def state_size(self, node: Facts) -> int:
        return 2 + 2 * MAX_RUNS


def _with_period(runs: list[tuple[int, int]], period: int) -> list[tuple[int, int]]:
    """The runs, oldest first, with one more period: joined to its neighbours, or on its own."""
    if any(start <= period < start + length for start, length in runs):
        return runs
    start, end = period, period + 1
    apart = []
    for run_start, length in runs:
        if run_start + length == start:
            start = run_start
        elif run_start == end:
            end = run_start + length
        else:
            apart.append((run_start, length))
    return sorted([*apart, (start, end - start)])
