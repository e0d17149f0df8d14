"""``sum``: the sum of a number. The state is [high, low], see ``amounts.py``."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from models.events import Event
from models.rules.amounts import BASE, join, split
from models.rules.fields import EventFields
from models.rules.forms.bases import NumberField, PeriodicShape
from models.rules.forms.values import Positive
from models.rules.rule import Amount, Facts, Outcome, Rule, Scalar, Step


class SumShape(PeriodicShape):
    """The sum of a number."""

    op: Literal["sum"]
    field: NumberField | None = None
    """The number: value, increment or payload.<name>; the event's own value where not given."""
    target: Positive


@dataclass(frozen=True, kw_only=True, slots=True)
class Sum(Rule):
    """The sum of a number."""

    op = "sum"
    shape = SumShape
    example = "sum(practice.done, field=payload.minutes) >= 600"
    values = "gain"
    numbers_of_lua = {"target_low": "a"}
    limits_of_lua = {"BASE": BASE}

    def amounts(self, event: Event, fields: EventFields, zone: str) -> Iterable[Amount]:
        """A negative amount does not move it: else completion would depend on the order of gains and losses."""
        gain = self._gain(event, fields)
        return () if gain is None or gain < 0 else (Amount(*split(gain)),)

    def _gain(self, event: Event, fields: EventFields) -> float | None:
        """The field named, else how far the statistic moved, else the event's value, else 1."""
        if self.field is not None:
            return fields.number(self.field)
        if event.increment is not None:
            return event.increment
        return 1 if event.value is None else event.value

    def first_state(self) -> list[Any]:
        return [0, 0]

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        carry, low = divmod(state[1] + step.low, BASE)
        state[:] = [state[0] + int(step.amount) + carry, low]
        return Outcome(event.occurred_at if tuple(state) >= split(self.target) else 0)

    @classmethod
    def progress(cls, state: list[Any]) -> int | float | Decimal:
        return join(state[0], state[1])

    def numbers(self, node: Facts) -> tuple[float, ...]:
        return split(self.target)

    def sample_values(self) -> tuple[Scalar, ...]:
        return 1, 2, 5, 12.5, 30, 0.1
