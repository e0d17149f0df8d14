"""Applying batches of a shard in larger calls, and handling those that fail.

One message may stand for many batches: whoever it wakes takes all that is ready in the shard's journal. A passing
fault leaves a batch in the journal, which brings it back; so this knows nothing of queues. A batch that fails for
another reason is taken apart, and in the end only the bad events leave for the dead letters.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from models.database.dead_letters.writer import DeadLetter
from models.declarations.metrics import BATCHES_POSTPONED
from models.errors import (
    AttributesUnknownError,
    BrokerUnavailableError,
    DatabaseUnavailableError,
    HydrationRacedError,
    MalformedBatchError,
    RetryableError,
    RulesUnreadableError,
    StateUnavailableError,
)
from models.events import Event, pack_batch
from models.failpoints import failpoint
from models.fleet.probes import Station
from models.state.fleet.path_state import PathState
from models.state.metrics import Metrics
from models.state.queue.attempts import FINISHED, GONE, READY, Tries
from models.state.queue.batches import Batch, Taken, TakenBatch
from models.state.queue.journal import Journal
from tasks.apply.bisection import bad_events
from tasks.apply.evaluator import Evaluator
from tasks.apply.merger import Merged, merge
from tasks.apply.pace import TURN_S, Pace
from tasks.apply.rerouting import Rerouter
from tasks.dead_letters.writer import DeadLetterWriter, event_dead_letter, malformed_dead_letter
from tasks.retries import Retries

ROUNDS = 4
"""How often a message takes from its shard at most before other shards get their turn; time may end it earlier."""
TAKEN_BATCHES = 200
MERGED_EVENTS = 250
"""Events that are evaluated together. What one call of the script takes of them is a matter of what they cost."""
EVENT_ATTEMPTS = 3
"""How often an event may break its evaluation before it becomes a dead letter; once more where the sweep made its batch
ready again, for a try among the ready ones is not counted."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class BatchApplier:
    """Applies batches of events to users' records."""

    evaluator: Evaluator
    journal: Journal
    tries: Tries
    dead_letter_writer: DeadLetterWriter
    ring: Callable[[Sequence[Batch]], None]
    """Sends a batch's message unless its shard's queue holds one already; raises BrokerUnavailableError."""
    retries: Retries
    metrics: Metrics
    now_us: Callable[[], int]
    path: PathState
    rerouter: Rerouter
    clock: Callable[[], float] = monotonic
    """Gives seconds, for the length of a turn."""
    pace: Pace = field(default_factory=Pace)

    def work(self, shard: int, batch_id: str, packed: bytes) -> None:
        """Apply the batch of a message and what else is ready in its shard; a long rest goes to a new message.

        Raises:
            StateUnavailableError: Redis did not answer; the sweep brings back what was taken.
        """
        may_load = self._apply_own(shard, TakenBatch(batch_id, packed))
        ending = self.clock() + TURN_S
        for _ in range(ROUNDS):
            started = self.clock()
            taken = self._take(shard, TAKEN_BATCHES, self.pace.size)
            failpoint("batches.taken")
            may_load = self._apply(shard, taken.batches, may_load=may_load)
            failpoint("batch.applied")
            if not taken.left:
                return
            now = self.clock()
            self.pace.note(now - started)
            if now + (now - started) > ending:  # another one would last as long
                break
        self._hand_on(shard)

    def _apply_own(self, shard: int, batch: TakenBatch) -> bool:
        """Apply the message's own batch, unless it is ready and so taken with the others.

        If it is not, somebody took it before and may have died of it. So nothing else is in hand while it is tried.
        """
        name = uuid4().hex
        try:
            tried = self.retries(self.tries.begin, shard, batch.batch_id, name)
            if tried in {READY, FINISHED} or (tried == GONE and self._has_restored(shard, batch)):
                return True
            # A try as one of the ready batches came before, uncounted. What is lost for good does not come back.
            is_last = tried == GONE or tried + 1 >= EVENT_ATTEMPTS
            return self._apply(shard, [batch], may_load=True, is_last=is_last)
        except SoftTimeLimitExceeded as error:
            with suppress(StateUnavailableError):
                self.tries.note(shard, batch.batch_id, error)
            raise
        except RetryableError:
            with suppress(StateUnavailableError):
                self.tries.forgive(shard, batch.batch_id, name)
            raise

    def _has_restored(self, shard: int, batch: TakenBatch) -> bool:
        """Put a batch back into the journal, which has lost it or had it applied; else its message were all there is.

        Taken with the others, it is dropped as any batch. Tells whether the journal has room for it.
        """
        lost = Batch(shard, batch.batch_id, batch.packed)
        return not self.retries(self.journal.append, [lost], self.now_us() // 1000).full

    def _take(self, shard: int, max_batches: int, max_bytes: int) -> Taken:
        now_ms = self.now_us() // 1000
        return self.retries(self.journal.take, shard, max_batches=max_batches, max_bytes=max_bytes, now_ms=now_ms)

    def _apply(self, shard: int, batches: Sequence[TakenBatch], *, may_load: bool, is_last: bool = False) -> bool:
        """Apply batches; those that fail for a passing reason are put back, the others do not suffer by them.

        Tells whether PostgreSQL may be asked again: once it did not answer, a message asks no more, for each time may
        take as long as a time limit, while warm users of the shard wait.
        """

        def malformed(batch: TakenBatch, error: MalformedBatchError) -> None:
            log.error("batch_malformed", shard=shard, batch_id=batch.batch_id, error=str(error))
            self._store_dead_letters(shard, batch, [malformed_dead_letter(shard, batch, str(error))])

        def moved(batch: TakenBatch, events: Sequence[Event]) -> bool:
            return self.rerouter.moves(shard, batch, events)

        for merged in merge(batches, malformed, moved, max_events=MERGED_EVENTS):
            may_load = self._apply_or_put_back(shard, merged, may_load=may_load, is_last=is_last)
        return may_load

    def _apply_or_put_back(self, shard: int, merged: Merged, *, may_load: bool, is_last: bool) -> bool:
        try:
            return self._evaluate_or_bisect(shard, merged, may_load=may_load, is_last=is_last)
        except AttributesUnknownError:  # some users' are: those of the others need not wait
            return self._each(shard, merged, may_load=False)
        except RulesUnreadableError as error:
            if len(merged.batches) > 1:  # some events fall under such rules: those of the others need not wait
                return self._each(shard, merged, may_load=may_load)
            self._put_back(shard, merged, error)
            return may_load
        except (DatabaseUnavailableError, HydrationRacedError) as error:
            self._put_back(shard, merged, error)
            return may_load and not isinstance(error, DatabaseUnavailableError)

    def _evaluate_or_bisect(self, shard: int, merged: Merged, *, may_load: bool, is_last: bool) -> bool:
        try:
            self.evaluator.evaluate(shard, merged.events, merged.packed, merged.batch_ids, may_load=may_load)
        except (RetryableError, SoftTimeLimitExceeded):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bad event does to the script or to us
            if len(merged.batches) > 1:
                return self._each(shard, merged, may_load=may_load)
            self._bisect(shard, merged, error, may_load=may_load, is_last=is_last)
        return may_load

    def _each(self, shard: int, merged: Merged, *, may_load: bool) -> bool:
        """One bad batch must not hold back its neighbours: each has its own try."""
        for batch in merged.batches:
            may_load = self._apply(shard, [batch], may_load=may_load)
        return may_load

    def _bisect(self, shard: int, merged: Merged, error: Exception, *, may_load: bool, is_last: bool) -> None:
        """Apply what can be applied of a bad batch. The rest waits for the sweep, or is dead-lettered at its last try.

        The journal keeps the batch until then; that its good events are applied again does no harm, by their ids.
        """

        def attempt(events: Sequence[Event]) -> Exception | None:
            try:
                self.evaluator.evaluate(shard, events, pack_batch(events), [], may_load=may_load)
            except (RetryableError, SoftTimeLimitExceeded):
                raise
            except Exception as failure:  # noqa: BLE001 - as above
                return failure
            return None

        [batch] = merged.batches
        bad = bad_events(merged.events, error, attempt)
        ids = [event.event_id for event, _ in bad[:10]]
        log.error("batch_failed", shard=shard, batch_id=batch.batch_id, bad=len(bad), event_ids=ids, exc_info=error)
        with suppress(StateUnavailableError):
            self.tries.note(shard, batch.batch_id, error)
        if is_last or not bad:
            dead_letters = [event_dead_letter(shard, batch.batch_id, *one, attempts=EVENT_ATTEMPTS) for one in bad]
            self._store_dead_letters(shard, batch, dead_letters)

    def _store_dead_letters(self, shard: int, batch: TakenBatch, dead_letters: Sequence[DeadLetter]) -> None:
        """Drop a batch once its dead letters are written; while they cannot be, the sweep brings it back for it."""
        try:
            self.dead_letter_writer.store_dead_letters(dead_letters)
        except DatabaseUnavailableError as error:
            log.warning("dead_letters_put_off", shard=shard, batch_id=batch.batch_id, error=str(error))
            return
        self.retries(self.journal.drop, shard, batch.batch_id)

    def _put_back(self, shard: int, merged: Merged, error: RetryableError) -> None:
        self.metrics.count(BATCHES_POSTPONED, len(merged.batches), label=type(error).__name__)
        log.warning("batches_postponed", shard=shard, batches=len(merged.batches), error=str(error))
        self.path.note_fault(Station.APPLY, error, self.now_us())
        self.retries(self.journal.postpone, shard, merged.batch_ids, now_ms=self.now_us() // 1000)

    def _hand_on(self, shard: int) -> None:
        """Publish the next batch that is ready, which stays so: its message brings a worker for all of them."""
        batch = self.retries(self.journal.next_ready, shard)
        if batch is None:
            return
        try:
            self.retries(self.ring, [batch])
        except BrokerUnavailableError as error:
            log.warning("batch_left_to_journal", shard=shard, batch_id=batch.batch_id, error=str(error))
