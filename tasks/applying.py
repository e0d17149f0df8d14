"""Applying a batch: match it to goals, run the script, load cold users, run it again for those.

In comes a batch from the queue; out go changed records in Redis. A passing fault leaves the batch in the journal,
which brings it back; so this knows nothing of queues and retries.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import DEBUG

import structlog

from models.cold.reading import ProgressReader
from models.errors import HydrationRacedError, RetryableError
from models.events import Event, unpack_batch
from models.hot.journal import Journal
from models.hot.meters import Meters
from models.hot.plan import make_plan
from models.hot.records import Applied, ColdUser, Records
from models.rules.goals import Rulebook

LOADS = 5
"""How often a record may turn cold again while it is being loaded, before the batch is put back."""

LOGGED_SINGLY = 5
"""Batches of more events than this are logged as one line, except at debug level."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchApplier:
    """Applies batches of events to users' records."""

    rulebook: Callable[[], Rulebook]
    """The goals under their published versions; raises DatabaseUnavailableError while those are not known."""
    records: Records
    journal: Journal
    reader: ProgressReader
    meters: Meters
    buffer_limit: Callable[[int], None]
    """Told the number of dirty users of the shard after each batch; starts an early flush when it is too high."""
    now_us: Callable[[], int]

    def apply(self, shard: int, batch_id: str, packed: bytes) -> None:
        """Apply a batch; after a passing fault, hand it back to the journal.

        Raises:
            MalformedBatchError: the bytes are not a batch; the journal keeps them until the sweep dead-letters them.
        """
        started = self.now_us()
        events = unpack_batch(packed)
        try:
            applied = self._apply(shard, batch_id, events, packed)
        except RetryableError as error:
            self.meters.count("questline_batches_postponed_total", label=type(error).__name__)
            log.warning("batch_postponed", shard=shard, batch_id=batch_id, error=str(error))
            self.journal.postpone(shard, batch_id, now_ms=self.now_us() // 1000)
            return
        self._record(events, started, applied)
        self.buffer_limit(applied[-1].dirty_users)

    def _apply(self, shard: int, batch_id: str, events: Sequence[Event], packed: bytes) -> list[Applied]:
        plan = make_plan(self.rulebook(), events, packed)
        calls: list[Applied] = []
        for _ in range(LOADS):
            calls.append(self.records.apply(shard, batch_id, plan, now_us=self.now_us()))
            cold = calls[-1].cold
            if not cold:
                return calls
            self._load(shard, cold)
            plan = plan.only([user.plan for user in cold])
        raise HydrationRacedError(f"{len(cold)} users of shard {shard} stayed cold through {LOADS} loads")

    def _load(self, shard: int, cold: Sequence[ColdUser]) -> None:
        now_us = self.now_us()
        known = self.reader.snapshots([(user.plan.tenant_id, user.plan.user_id) for user in cold], now_us=now_us)
        self.records.load(
            shard, [(user.token, snapshot) for user, snapshot in zip(cold, known, strict=True)], now_us=now_us
        )
        self.meters.count("questline_users_loaded_total", len(cold))

    def _record(self, events: Sequence[Event], started: int, calls: Sequence[Applied]) -> None:
        now = self.now_us()
        for accepted_at, times in Counter(event.accepted_at for event in events).items():
            self.meters.observe("questline_apply_latency_seconds", (now - accepted_at) / 1e6, times=times)
        spent = (now - started) / 1e6
        self.meters.observe(
            "challenge_event_handler_event_processing_duration_seconds", spent / len(events), times=len(events)
        )
        unlocks = sum(call.unlocks for call in calls)
        if unlocks:
            self.meters.count("questline_unlocks_total", unlocks)
        self._log(events, spent, calls)

    def _log(self, events: Sequence[Event], spent: float, calls: Sequence[Applied]) -> None:
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
                goals_affected=len(self.rulebook().by_event.get(event.event_type, ())),
                processing_time_ms=each,
            )
