"""``latest``: the newest number. The state is [value, time, identity hash]."""

from dataclasses import dataclass
from typing import Any, Literal

from models.events import Event, identity_hash
from models.rules.rule import Outcome, Step
from models.rules.thresholds import Threshold, ThresholdShape
from models.wire import Mode


class LatestShape(ThresholdShape):
    """The newest number."""

    op: Literal["latest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Latest(Threshold):
    """The newest number."""

    op = "latest"
    shape = LatestShape
    example = "latest(level.changed, field=payload.level) >= 10"

    def advance(self, state: list[Any], step: Step, event: Event) -> Outcome:
        seen = [step.amount, event.occurred_at, identity_hash(event.event_id)]
        if not state or seen[1:] > state[1:]:
            state[:] = seen
        return self.outcome(step.amount, event)

    def migrated(self, state: list[Any], step: Step, event: Event, outcome: Outcome) -> Outcome:
        """What the newest value was before is not known, so only events of the version itself complete it."""
        return outcome._replace(reached_at=0) if step.mode == Mode.MIGRATED else outcome
