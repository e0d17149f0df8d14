"""``sequence``: events in an order. The state is [steps, one list of times for each step]."""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from models.events import Event
from models.rules.fields import EventFields
from models.rules.forms.bases import MAX_PARTS
from models.rules.forms.conditions import Where
from models.rules.forms.values import Duration, Id, Strict
from models.rules.rule import Amount, Facts, Outcome, Rule, Step

MAX_STEP_TIMES = 64
"""Times that are remembered of a step: the oldest, and the newest others."""


class SequenceShape(Strict):
    """Events in an order."""

    op: Literal["sequence"]
    events: Annotated[list[Id], Field(min_length=2, max_length=MAX_PARTS)]
    where: Where = Field(default_factory=list)
    within: Duration | None = None
    """All must happen within this duration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequence(Rule):
    """Events in an order."""

    op = "sequence"
    shape = SequenceShape
    example = "sequence([signup, profile.completed, lesson.completed], within=7d)"
    terminal = "SEQUENCE"
    keeps_state = False
    is_exact = True
    numbers_of_lua = {"within": "a", "strict": "b"}
    limits_of_lua = {"MAX_STEP_TIMES": MAX_STEP_TIMES}

    @classmethod
    def target_of(cls, shape: Any) -> float:
        return len(shape.events)

    def amounts(self, event: Event, fields: EventFields, zone: str) -> Iterable[Amount]:
        """The step, from 1."""
        return (Amount(number) for number, name in enumerate(self.events, start=1) if name == event.event_type)

    def steps_of(self, event_type: str) -> int:
        return self.events.count(event_type)

    def first_state(self) -> list[Any]:
        return [0, *([] for _ in self.events)]

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        number = int(step.amount)
        lists: list[list[int]] = state[1:]
        insort(lists[number - 1], event.occurred_at)
        length, reached = self._chain(lists)
        for times in lists:
            if reached:
                times[:] = [at for at in times if at <= reached]
            if len(times) > MAX_STEP_TIMES:
                del times[1]
        state[0] = length
        return Outcome(reached, contributes=number == len(lists))

    @property
    def _is_strict(self) -> bool:
        """Whether it waits for one type of event twice: then its steps need moments of their own."""
        return len(set(self.events)) < len(self.events)

    def _chain(self, lists: list[list[int]]) -> tuple[int, int]:
        """The length of the longest chain of first steps, and the earliest end of a whole one (0: there is none)."""
        longest = earliest = 0
        # Without a duration the earliest first step is as good as any other.
        for start in lists[0] if self.within is not None else lists[0][:1]:
            length, end = self._follow(lists, start)
            longest = max(longest, length)
            if length == len(lists) and (not earliest or end < earliest):
                earliest = end
        return longest, earliest

    def _follow(self, lists: list[list[int]], start: int) -> tuple[int, int]:
        """Take the earliest possible time of each step in turn."""
        at = start
        for position, times in enumerate(lists[1:], start=1):
            following = (time for time in times if time > at or (time == at and not self._is_strict))
            after = next(following, None)
            if after is None or (self.within is not None and after > start + self.within):
                return position, at
            at = after
        return len(lists), at

    def numbers(self, node: Facts) -> tuple[float, ...]:
        return self.target, self.within or 0, int(self._is_strict)

    def weight(self, node: Facts) -> int:
        return 2 + len(self.events) if self.within is None else 12 * len(self.events)

    def state_size(self, node: Facts) -> int:
        return MAX_STEP_TIMES * len(self.events)
