"""What ``latest``, ``max`` and ``min`` have in common: the number of an event, and a threshold for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.rules.forms.bases import NumberField, PeriodicShape
from models.rules.forms.values import Exact
from models.rules.rule import Amount, Outcome, Rule

if TYPE_CHECKING:
    from models.events import Event
    from models.rules.fields import EventFields


class ThresholdShape(PeriodicShape):
    """The newest, largest or smallest number."""

    field: NumberField | None = None
    """The number: value, increment or payload.<name>; the event's own value where not given."""
    target: Exact


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold(Rule):
    """A rule that a single event completes, if its number is good enough."""

    is_exact: ClassVar[bool] = True
    values: ClassVar[Literal["", "growing", "gain"]] = "growing"

    def amounts(self, event: "Event", fields: "EventFields", zone: str) -> Iterable[Amount]:
        """The number, where the event has one."""
        value = event.value if self.field is None else fields.number(self.field)
        return () if value is None else (Amount(value),)

    def first_state(self) -> list[Any]:
        """A state that no event has moved yet."""
        return []

    def outcome(self, value: float, event: "Event") -> Outcome:
        """What an event with that number means."""
        reached = value <= self.target if self.comparison == "<=" else value >= self.target
        return Outcome(event.occurred_at if reached else 0, contributes=reached)

    def best_counts(self, state: list[Any], event: "Event", outcome: Outcome) -> Outcome:
        """The best value counts whichever version it was made under."""
        best = self.outcome(state[0], event).reached_at
        return outcome if outcome.reached_at else outcome._replace(reached_at=best)
