"""``min``: the smallest number. The state is [value]."""

from dataclasses import dataclass
from typing import Any, Literal

from models.events import Event
from models.rules.rule import Outcome, Step
from models.rules.thresholds import Threshold, ThresholdShape


class MinShape(ThresholdShape):
    """The smallest number."""

    op: Literal["min"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Min(Threshold):
    """The smallest number."""

    op = "min"
    shape = MinShape
    example = "min(run.finished, field=payload.seconds) <= 60"
    comparison = "<="

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        state[:] = [min([*state, step.amount])]
        return self.outcome(step.amount, event)

    def migrated(self, state: list[Any], step: Step, event: Event, outcome: Outcome) -> Outcome:
        return self.best_counts(state, event, outcome)
