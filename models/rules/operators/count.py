"""``count``: how many events, in all or within a rolling window.

The state is [n], with ``stops_at_target`` [min(n, target), n]; where the moment of completion must be known, [n, the
``target`` earliest times]; with ``last`` [best window, times, none later than the one that reached the target].
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ValidationInfo, field_validator

from models.events import Event
from models.rules.forms.bases import PeriodicShape
from models.rules.forms.values import Duration, duration_text, whole
from models.rules.rule import Facts, Outcome, Rule, Step

MAX_TIMES = 1000
"""Times that ``count`` with ``last`` may have to remember."""
MAX_TIMED_COUNT = 256
"""The largest target within a composite with ``within``: so many times are remembered."""


class CountShape(PeriodicShape):
    """How many events."""

    op: Literal["count"]
    target: Annotated[int, whole(1)]
    last: Duration | None = None
    """Only events of a window this long count together, wherever it lies."""

    @field_validator("last")
    @classmethod
    def _no_periods(cls, last: int | None, info: ValidationInfo) -> int | None:
        if last is not None and info.data.get("per"):
            raise ValueError("does not go with per: a window that rolls has no periods")
        return last


@dataclass(frozen=True, kw_only=True, slots=True)
class Count(Rule):
    """How many events."""

    op = "count"
    shape = CountShape
    example = "count(lesson.completed per week) >= 10"
    same_state = ("per", "timezone", "last")
    numbers_of_lua = {"stops_at_target": "a", "window": "a", "kept": "b"}

    last: int | None = None
    """Only events of a window this long count together, wherever it lies."""
    stops_at_target: bool = False
    """Shows no more than the target. A second login today is no change."""

    def options(self) -> dict[str, Any]:
        return {"last": self.last and duration_text(self.last)}

    def state_faults(self, reach: int) -> Iterator[tuple[str, str]]:
        times = self._times_within(reach)
        if times > MAX_TIMES and self.last is not None:
            shown = f"{int(self.target)} events of {duration_text(self.last)}"
            yield (
                "last",
                f"makes the state unbounded: for {shown} it would have to remember {times} times, at most {MAX_TIMES}",
            )

    def untimed(self) -> str | None:
        too_many = self.last is None and self.target > MAX_TIMED_COUNT
        return f"a count of more than {MAX_TIMED_COUNT} does not remember its times" if too_many else None

    def can_keep(self, old: Rule) -> bool:
        return self.last is None and Rule.can_keep(self, old)

    def reducer(self, *, timed: bool) -> str:
        if self.last is not None:
            return "last"
        return "timed" if timed else "count"

    def knows_time(self, *, timed: bool) -> bool:
        return timed or self.last is not None or self.target == 1

    def kept_times(self, lateness: int) -> int:
        return 0 if self.last is None else max(1, self._times_within(lateness))

    def _times_within(self, lateness: int) -> int:
        return int(self.target - 1) * (-(-lateness // self.last) + 2) if self.last is not None else 0

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        at = event.occurred_at
        if self.last is not None:
            return self._advance_window(state, at, step.node.kept_times)
        if step.node.timed:
            return self._advance_timed(state, at)
        count = state[-1] + 1
        state[:] = [min(count, self.target), count] if self.stops_at_target else [count]
        return Outcome(at if count >= self.target else 0)

    def _advance_timed(self, state: list[Any], at: int) -> Outcome:
        target = int(self.target)
        count, times = state[0] + 1, state[1:]
        insort(times, at)
        del times[target:]
        state[:] = [count, *times]
        if count < target:
            return Outcome(0)
        # Fewer times than counted: the count began before anyone asked when.
        return Outcome(times[-1] if len(times) == target else at)

    def _advance_window(self, state: list[Any], occurred_at: int, kept: int) -> Outcome:
        target, best, times = int(self.target), state[0], state[1:]
        if best >= target and occurred_at >= times[-1]:
            return Outcome(times[-1])
        insort(times, occurred_at)
        first = reached = 0
        for position, at in enumerate(times):
            while at - times[first] > (self.last or 0):
                first += 1
            best = max(best, position - first + 1)
            if position - first + 1 >= target:
                reached = at
                del times[position + 1 :]
                break
        state[:] = [min(best, target), *times[-kept:]]
        return Outcome(reached)

    def numbers(self, node: Facts) -> tuple[float, ...]:
        if self.last is not None:
            return self.target, self.last, node.kept_times
        return self.target, int(self.stops_at_target)

    def weight(self, node: Facts) -> int:
        if self.last is not None:
            return 1 + node.kept_times // 32
        return 1 + int(self.target) // 32 if node.timed else 1

    def state_size(self, node: Facts) -> int:
        if self.last is not None:
            return node.kept_times
        return int(self.target) if node.timed else 3
