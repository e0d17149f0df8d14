"""``distinct``: how many different values.

The state is [values, (mark, first time) of the ``target`` values that came first].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from models.events import Event
from models.rules.fields import EventFields, value_mark
from models.rules.forms.bases import NumberField, PeriodicShape
from models.rules.forms.values import whole
from models.rules.rule import Amount, Facts, Outcome, Rule, Scalar, Step

MAX_DISTINCT = 256
"""The largest target, for every value is remembered."""


class DistinctShape(PeriodicShape):
    """How many different values."""

    op: Literal["distinct"]
    field: NumberField
    """Whose values are told apart: value, increment or payload.<name>."""
    target: Annotated[int, whole(1, MAX_DISTINCT, " (every value is remembered)")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Distinct(Rule):
    """How many different values."""

    op = "distinct"
    shape = DistinctShape
    example = "distinct(place.visited, field=payload.city) >= 5"
    keeps_state = False
    is_exact = True

    def amounts(self, event: Event, fields: EventFields, zone: str) -> Iterable[Amount]:
        mark = value_mark(fields.value(self.field or "value"))
        return () if mark is None else (Amount(mark),)

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        target, mark, at = int(self.target), step.amount, event.occurred_at
        known = {state[position]: state[position + 1] for position in range(1, len(state), 2)}
        known[mark] = min(at, known.get(mark, at))
        firsts = sorted(((first, value) for value, first in known.items()))[:target]
        state[:] = [len(firsts), *(part for first, value in firsts for part in (value, first))]
        return Outcome(firsts[-1][0] if len(firsts) == target else 0)

    def weight(self, node: Facts) -> int:
        return 1 + int(self.target) // 16

    def state_size(self, node: Facts) -> int:
        return 2 * int(self.target)

    def sample_values(self) -> tuple[Scalar, ...]:
        return tuple(f"value-{number}" for number in range(min(int(self.target) + 2, 300)))
