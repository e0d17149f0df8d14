"""``all``, ``any`` and ``at_least`` in Python.

``models/state/lua/apply/composites.lua`` must agree with it (promise P11).

The state is [parts complete, completion time of each part or 0]; 1 stands for the time of a part whose time depends on
the order of arrival. With ``within``, a list for each part follows: the
times at which a stretch of that duration may begin and hold an event that counts for the part, as [begin, end]
pairs, merged and in order. Cut off at the part's completion time less the duration, they are the beginnings of the
stretches in which an event finds the part complete; where enough parts overlap, the composite is complete. Adding an
event only adds to these times, and an earlier completion only moves the cut back, so completion is never taken back,
in whatever order events arrive.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SkipValidation

from models.rules.forms.bases import MAX_PARTS
from models.rules.forms.values import Duration, Id, Strict, duration_text
from models.rules.rule import Facts, Rule

if TYPE_CHECKING:
    from models.rules.graph import Node

    RuleShape = Any  # rule_shapes.py makes it of the shapes of all operators

MAX_STRETCHES = 64
"""Merged stretches that a part remembers: the newest."""
MAX_WINDOWS = 60
"""How many times the shortest ``within`` fits into the time in which events may still come."""

Parts = Annotated[list[SkipValidation["Id | RuleShape"]], Field(min_length=1, max_length=MAX_PARTS)]


class GroupShape(Strict):
    """An operator over other goals and rules."""

    of: Parts
    """Ids of goals, and rules."""
    within: Duration | None = None
    """All must happen within this duration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Composite(Rule):
    """A rule over other goals and rules."""

    terminal: ClassVar[str] = "GROUP"
    is_composite: ClassVar[bool] = True
    numbers_of_lua: ClassVar[Mapping[str, Literal["a", "b"]]] = {"within": "a"}
    limits_of_lua: ClassVar[Mapping[str, int]] = {"MAX_STRETCHES": MAX_STRETCHES}

    def state_faults(self, reach: int) -> Iterator[tuple[str, str]]:
        """A part remembers stretches of the duration."""
        shortest = -(-reach // MAX_WINDOWS)
        if self.within is not None and self.within < shortest:
            least = duration_text(shortest)
            yield "within", f"makes the state unbounded: with parts to combine it must be at least {least}"

    def untimed(self) -> str | None:
        """A part of another composite with a duration may not have one itself."""
        if self.within is None:
            return None
        return "the moment at which parts are complete within another duration depends on the order of arrival"

    def can_keep(self, old: Rule) -> bool:
        """It has no progress of its own; its nested parts are asked one by one."""
        return old.is_composite

    def numbers(self, node: Facts) -> tuple[float, ...]:
        """The target and the duration."""
        return self.target, self.within or 0

    def state_size(self, node: Facts) -> int:
        """A number for each part, and stretches."""
        parts = len(node.parts)
        return parts + (2 * MAX_STRETCHES * parts if self.within is not None else 0)


def first_composite(node: "Node", completed: list[int]) -> list[Any]:
    """The state of a composite whose parts were completed at these times (0: not)."""
    state: list[Any] = [0, *completed]
    if node.rule.within is not None:
        state += [[completed_at - node.rule.within, completed_at] if completed_at else [] for completed_at in completed]
    return state


def add_stretch(stretches: list[int], begin: int, end: int) -> None:
    """Merge the times from ``begin`` to ``end`` into a list of [begin, end] pairs."""
    pairs = [(stretches[index], stretches[index + 1]) for index in range(0, len(stretches), 2)]
    apart = []
    for pair_begin, pair_end in pairs:
        if pair_end < begin or pair_begin > end:
            apart.append((pair_begin, pair_end))
        else:
            begin, end = min(begin, pair_begin), max(end, pair_end)
    merged = sorted([*apart, (begin, end)])[-MAX_STRETCHES:]
    stretches[:] = [begin_or_end for pair in merged for begin_or_end in pair]


def find_completion(node: "Node", state: list[Any], event_at: int) -> int:
    """Bring the progress up to date; returns when the composite was reached, 0 while it is not.

    That is the completion of the part that made it enough where all parts' times are exact, else the event's time.
    """
    target, parts = int(node.rule.target), len(node.parts)
    if node.rule.within is None:
        done = sorted(at for at in state[1 : parts + 1] if at)
        state[0] = min(len(done), target)
        reached_at = done[target - 1] if node.is_exact and len(done) >= target else event_at
        return reached_at if len(done) >= target else 0
    state[0] = max(state[0], min(_overlap(node.rule.within, state, parts), target))
    if state[0] < target:
        return 0
    for index in range(parts + 1, 2 * parts + 1):
        state[index] = []
    return event_at


def _overlap(within: int, state: list[Any], parts: int) -> int:
    """The largest number of parts that one stretch of the duration finds complete."""
    edges: list[tuple[int, int]] = []
    for index in range(1, parts + 1):
        completed_at, stretches = state[index], state[parts + index]
        for pair in range(0, len(stretches) if completed_at else 0, 2):
            begin, end = max(stretches[pair], completed_at - within), stretches[pair + 1]
            if begin <= end:
                edges += [(begin, 0), (end, 1)]
    most = now = 0
    for _, closing in sorted(edges):
        now += -1 if closing else 1
        most = max(most, now)
    return most
