"""What is told of applied events: metrics and log lines."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import DEBUG

import structlog

from models.declarations.metrics import APPLY_LATENCY, PROCESSING_SECONDS, UNLOCKS
from models.events import Event
from models.fleet.probes import is_probe
from models.rules.matcher import Matcher
from models.state.metrics import Metrics
from models.state.progress.records import Applied

LOGGED_SINGLY = 5
"""Calls with more events than this are logged as one line, except at debug level."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reporter:
    """Counts and logs applied events."""

    metrics: Metrics
    now_us: Callable[[], int]

    def record(self, events: Sequence[Event], matcher: Matcher, started: int, calls: Sequence[Applied]) -> None:
        """Tell of events that were applied by these calls, begun at ``started`` (µs). Probes are not told of."""
        events = [event for event in events if not is_probe(event)]
        if not events:
            return
        now = self.now_us()
        for accepted_at, times in Counter(event.accepted_at for event in events).items():
            self.metrics.observe(APPLY_LATENCY, (now - accepted_at) / 1e6, times=times)
        spent = (now - started) / 1e6
        self.metrics.observe(PROCESSING_SECONDS, spent / len(events), times=len(events))
        unlocks = sum(call.unlocks for call in calls)
        if unlocks:
            self.metrics.count(UNLOCKS, unlocks)
        _log(events, matcher, spent, calls)


def _log(events: Sequence[Event], matcher: Matcher, spent: float, calls: Sequence[Applied]) -> None:
    """One line an event while they trickle, with the fields of the system this replaces; else one a batch."""
    each = round(1000 * spent / len(events), 3)
    if len(events) > LOGGED_SINGLY and not log.is_enabled_for(DEBUG):
        applied, duplicates = (sum(counts) for counts in zip(*(call[:2] for call in calls), strict=True))
        log.info("batch_processed", events=applied, duplicates=duplicates, processing_time_ms=each)
        return
    for event in events:
        log.info(
            "event_processed",
            event_id=event.event_id,
            user_id=event.user_id,
            event_type=event.event_type,
            goals_affected=len(_goals(matcher, event)),
            processing_time_ms=each,
        )


def _goals(matcher: Matcher, event: Event) -> frozenset[str]:
    """The goals whose own rules, or parts of them, an event of this type and time may move."""
    nodes = matcher.graph_at(event.occurred_at).by_event.get(event.event_type, ())
    return frozenset(node.goal.goal_id for node in nodes)
