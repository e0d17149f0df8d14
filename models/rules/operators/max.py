"""``max``: the largest number. The state is [value]."""

from dataclasses import dataclass
from typing import Any, Literal

from models.events import Event
from models.rules.rule import Outcome, Step
from models.rules.thresholds import Threshold, ThresholdShape


class MaxShape(ThresholdShape):
    """The largest number."""

    op: Literal["max"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Max(Threshold):
    """The largest number."""

    op = "max"
    shape = MaxShape
    example = "max(quiz.scored, field=payload.score) >= 90"

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        state[:] = [max([*state, step.amount])]
        return self.outcome(step.amount, event)

    def migrated(self, state: list[Any], step: Step, event: Event, outcome: Outcome) -> Outcome:
        return self.best_counts(state, event, outcome)
