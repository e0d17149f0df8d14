"""Applying batches: match them to goals, run the script, load cold users, run it again for those.

In comes the batch of a message; out go changed records in Redis. One message may stand for many batches: whoever it
wakes takes all that is ready in the shard's journal. A passing fault leaves a batch in the journal, which brings it
back; so this knows nothing of queues and retries.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import DEBUG

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from models.cold.reading import ProgressReader
from models.errors import (
    AttributesUnknownError,
    BrokerUnavailableError,
    DatabaseUnavailableError,
    HydrationRacedError,
    RetryableError,
)
from models.events import Event, pack_batch
from models.failpoints import failpoint
from models.hot.journal import Batch, Journal, Taken, TakenBatch
from models.hot.meters import Meters
from models.hot.plan import Plan, make_plan
from models.hot.records import Applied, ColdUser, Records
from models.rules.matching import Matcher
from tasks.attributes import Stamp
from tasks.merging import Merged, merge

LOADS = 5
"""How often a record may turn cold again while it is being loaded, before the batch is put back."""
ROUNDS = 4
"""How often a message takes from its shard before other shards get their turn."""
TAKEN_BATCHES, TAKEN_BYTES = 200, 128 * 1024
MERGED_EVENTS = 250
"""Events of one call of the apply script, so that Redis is never busy with it for more than some milliseconds."""
LOGGED_SINGLY = 5
"""Calls with more events than this are logged as one line, except at debug level."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchApplier:
    """Applies batches of events to users' records."""

    matcher: Callable[[], Matcher]
    """The rules as published by now; raises DatabaseUnavailableError while they are not known."""
    stamp: Stamp
    """Writes users' attributes into their events."""
    records: Records
    journal: Journal
    reader: ProgressReader
    ring: Callable[[Sequence[Batch]], None]
    """Sends a batch's message unless its shard's queue holds one already; raises BrokerUnavailableError."""
    meters: Meters
    buffer_limit: Callable[[int], None]
    """Told the number of dirty users of the shard after each call; starts an early flush when it is too high."""
    now_us: Callable[[], int]

    def work(self, shard: int, batch_id: str, packed: bytes) -> None:
        """Apply the batch of a message and what else is ready in its shard; a long rest goes to a new message.

        Raises:
            StateUnavailableError: Redis did not answer; the sweep brings back what was taken.
        """
        own, may_load = [TakenBatch(batch_id, packed)], True
        for _ in range(ROUNDS):
            taken = self._take(shard, TAKEN_BATCHES, TAKEN_BYTES)
            failpoint("batches.taken")
            if any(batch.batch_id == batch_id for batch in taken.batches):
                own = []
            may_load = self._apply(shard, own + taken.batches, may_load=may_load)
            failpoint("batch.applied")
            own = []
            if not taken.left:
                return
        self._hand_on(shard)

    def _take(self, shard: int, max_batches: int, max_bytes: int) -> Taken:
        now_ms = self.now_us() // 1000
        return self.journal.take(shard, max_batches=max_batches, max_bytes=max_bytes, now_ms=now_ms)

    def _apply(self, shard: int, batches: Sequence[TakenBatch], *, may_load: bool) -> bool:
        """Apply batches; those that fail for a passing reason are put back, the others do not suffer by them.

        Tells whether PostgreSQL may be asked again: once it did not answer, a message asks no more, for each time may
        take as long as a time limit, while warm users of the shard wait.
        """
        for merged in merge(batches, shard=shard, max_events=MERGED_EVENTS):
            may_load = self._apply_or_put_back(shard, merged, may_load=may_load)
        return may_load

    def _apply_or_put_back(self, shard: int, merged: Merged, *, may_load: bool) -> bool:
        started = self.now_us()
        try:
            calls = self._call(shard, merged, may_load=may_load)
        except AttributesUnknownError:  # some users' are: those of the others need not wait
            return self._each(shard, merged, may_load=False)
        except (DatabaseUnavailableError, HydrationRacedError) as error:
            self._put_back(shard, merged, error)
            return may_load and not isinstance(error, DatabaseUnavailableError)
        except (RetryableError, SoftTimeLimitExceeded):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bad event does to the script or to us
            return self._alone(shard, merged, error, may_load=may_load)
        self._record(merged.events, started, calls)
        self.buffer_limit(calls[-1].dirty_users)
        return may_load

    def _alone(self, shard: int, merged: Merged, error: Exception, *, may_load: bool) -> bool:
        """One bad batch must not hold back its neighbours: each has its own try, and the bad one stays journaled."""
        if len(merged.batches) == 1:
            log.error("batch_failed", shard=shard, batch_id=merged.batch_ids[0], exc_info=error)
            return may_load
        return self._each(shard, merged, may_load=may_load)

    def _each(self, shard: int, merged: Merged, *, may_load: bool) -> bool:
        for batch in merged.batches:
            may_load = self._apply(shard, [batch], may_load=may_load)
        return may_load

    def _put_back(self, shard: int, merged: Merged, error: RetryableError) -> None:
        self.meters.count("questline_batches_postponed_total", len(merged.batches), label=type(error).__name__)
        log.warning("batches_postponed", shard=shard, batches=len(merged.batches), error=str(error))
        self.journal.postpone(shard, merged.batch_ids, now_ms=self.now_us() // 1000)

    def _hand_on(self, shard: int) -> None:
        """Publish the next batch that is ready, which stays so: its message brings a worker for all of them."""
        batch = self.journal.next_ready(shard)
        if batch is None:
            return
        try:
            self.ring([batch])
        except BrokerUnavailableError as error:
            log.warning("batch_left_to_journal", shard=shard, batch_id=batch.batch_id, error=str(error))

    def _call(self, shard: int, merged: Merged, *, may_load: bool) -> list[Applied]:
        plan = self._plan(shard, merged, may_ask=may_load)
        calls: list[Applied] = []
        for _ in range(LOADS):
            calls.append(self.records.apply(shard, merged.batch_ids, plan, now_us=self.now_us()))
            cold = calls[-1].cold
            if not cold:
                return calls
            if not may_load:
                raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago")
            self._load(shard, cold)
            plan = plan.only([user.plan for user in cold])
        raise HydrationRacedError(f"{len(cold)} users of shard {shard} stayed cold through {LOADS} loads")

    def _plan(self, shard: int, merged: Merged, *, may_ask: bool) -> Plan:
        matcher = self.matcher()
        names = matcher.attribute_names
        if not names:
            return make_plan(matcher, merged.events, merged.packed)
        try:
            events = self.stamp(shard, merged.events, names, may_ask=may_ask)
        except DatabaseUnavailableError as error:
            if len(merged.batches) == 1:
                raise
            raise AttributesUnknownError(str(error)) from error
        return make_plan(matcher, events, pack_batch(events))

    def _load(self, shard: int, cold: Sequence[ColdUser]) -> None:
        now_us = self.now_us()
        known = self.reader.snapshots([(user.plan.tenant_id, user.plan.user_id) for user in cold], now_us=now_us)
        failpoint("users.loaded", DatabaseUnavailableError)
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
                goals_affected=len(self._goals(event)),
                processing_time_ms=each,
            )

    def _goals(self, event: Event) -> frozenset[str]:
        """The goals whose own rules, or parts of them, an event of this type and time may move."""
        nodes = self.matcher().network_at(event.occurred_at).by_event.get(event.event_type, ())
        return frozenset(node.goal.goal_id for node in nodes)
