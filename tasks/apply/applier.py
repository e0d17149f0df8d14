"""Applying batches of several shards in larger calls, and handling those that fail.

Whatever is not applied here stays pending in its stream, which gives it to a worker again; so this knows nothing of
queues. A batch that fails is taken apart, and in the end only the bad events leave for the dead letters.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from models.database.dead_letters.writer import DeadLetter
from models.declarations.metrics import BATCHES_POSTPONED, BATCHES_REPUBLISHED
from models.errors import (
    AttributesUnknownError,
    DatabaseUnavailableError,
    HydrationRacedError,
    MalformedBatchError,
    RetryableError,
    RulesUnreadableError,
    StateUnavailableError,
)
from models.events import Event, pack_batch, unpack_batch
from models.failpoints import failpoint
from models.fleet.probes import Station
from models.state.fleet.path_state import PathState
from models.state.metrics import Metrics
from models.state.queue.attempts import Attempts
from models.state.queue.batches import TakenBatch
from models.state.queue.journal import Journal
from tasks.apply.bisection import bad_events
from tasks.apply.evaluator import Evaluator
from tasks.apply.merger import Merged, merge
from tasks.apply.rerouting import Rerouter
from tasks.dead_letters.writer import DeadLetterWriter, event_dead_letter, given_up_dead_letter, malformed_dead_letter

MERGED_EVENTS = 250
"""Events that are evaluated together. What one call of the script takes of them is a matter of what they cost."""
EVENT_ATTEMPTS = 3
"""How often an event may break its evaluation before it becomes a dead letter."""
TRIES_TOGETHER = 3
"""How often workers try a batch as a whole; then each of its events has attempts of its own."""
PATIENCE_S = 10.0
"""After so long a message leaves its other shards to a later one, where Redis has failed it."""

log = structlog.get_logger()


class ShardWork(NamedTuple):
    """What a message brings of one shard."""

    shard: int
    batches: Sequence[TakenBatch]


@dataclass(frozen=True, slots=True)
class BatchApplier:
    """Applies batches of events to users' records."""

    evaluator: Evaluator
    journal: Journal
    attempts: Attempts
    patient_journal: Journal
    """The same, and ``patient_attempts``: they try again where Redis is away for a moment (``tasks.retries``)."""
    patient_attempts: Attempts
    dead_letter_writer: DeadLetterWriter
    metrics: Metrics
    now_us: Callable[[], int]
    path: PathState
    rerouter: Rerouter
    max_attempts: int
    """Tries by workers before a batch is given up."""
    clock: Callable[[], float] = monotonic
    """Gives seconds."""

    def work(self, shards: Sequence[ShardWork]) -> None:
        """Apply what a message brings. A shard that fails for a passing reason does not take its neighbours' turn.

        Once PostgreSQL did not answer, a message asks it no more, for each time may take as long as a time limit.
        """
        ending, may_load = self.clock() + PATIENCE_S, True
        for shard, batches in shards:
            again = sum(batch.deliveries > 1 for batch in batches)
            if again:
                self.metrics.count(BATCHES_REPUBLISHED, again)
            try:
                failpoint("batches.taken")
                may_load = self._apply(shard, self._worth_trying(shard, batches), may_load=may_load)
            except RetryableError as error:
                self._leave(shard, batches, error)
                if self.clock() > ending:
                    return
            failpoint("batch.applied")

    def _leave(self, shard: int, batches: Sequence[TakenBatch], error: RetryableError) -> None:
        """What is still pending of a shard comes again, as if it had not been tried."""
        log.warning("batch_left_to_journal", shard=shard, batches=len(batches), error=str(error))
        self.path.note_fault(Station.APPLY, error, self.now_us())
        with suppress(StateUnavailableError):
            self.journal.postpone(shard, [batch.batch_id for batch in batches])

    def _worth_trying(self, shard: int, batches: Sequence[TakenBatch]) -> list[TakenBatch]:
        """The batches that have attempts left; what has none is taken apart, or given up."""
        return [batch for batch in batches if not (self._splits(shard, batch) or self._gives_up(shard, batch))]

    def _splits(self, shard: int, batch: TakenBatch) -> bool:
        """Take a batch of several events apart that was tried too often as a whole; tells whether it was."""
        if batch.deliveries <= min(TRIES_TOGETHER, self.max_attempts):
            return False
        events = _events_of(batch.packed)
        if len(events) <= 1:
            return False
        parts = [pack_batch([event]) for event in events]
        self.patient_journal.split(shard, batch.batch_id, parts)
        log.warning("batch_split", shard=shard, batch_id=batch.batch_id, events=len(events))
        return True

    def _gives_up(self, shard: int, batch: TakenBatch) -> bool:
        if batch.deliveries <= self.max_attempts:
            return False
        known = self.patient_attempts.of(shard, batch.batch_id)
        self._store_dead_letters(shard, batch, [given_up_dead_letter(shard, batch, known)])
        return True

    def _apply(self, shard: int, batches: Sequence[TakenBatch], *, may_load: bool) -> bool:
        """Apply batches; those that fail for a passing reason are put back, the others do not suffer by them.

        Tells whether PostgreSQL may be asked again.
        """
        for merged in merge(self._readable(shard, batches), max_events=MERGED_EVENTS):
            may_load = self._apply_or_put_back(shard, merged, may_load=may_load)
        return may_load

    def _readable(self, shard: int, batches: Sequence[TakenBatch]) -> Iterator[tuple[TakenBatch, Sequence[Event]]]:
        """The batches that are to be applied here, with their events; the others go where they belong."""
        for batch in batches:
            try:
                events = unpack_batch(batch.packed)
            except MalformedBatchError as error:
                self._store_malformed(shard, batch, str(error))
            else:
                if not self.rerouter.moves(shard, batch, events):
                    yield batch, events

    def _store_malformed(self, shard: int, batch: TakenBatch, error: str) -> None:
        log.error("batch_malformed", shard=shard, batch_id=batch.batch_id, error=error)
        self._store_dead_letters(shard, batch, [malformed_dead_letter(shard, batch, error)])

    def _apply_or_put_back(self, shard: int, merged: Merged, *, may_load: bool) -> bool:
        try:
            return self._evaluate_or_bisect(shard, merged, may_load=may_load)
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

    def _evaluate_or_bisect(self, shard: int, merged: Merged, *, may_load: bool) -> bool:
        try:
            self.evaluator.evaluate(shard, merged.events, merged.packed, merged.batch_ids, may_load=may_load)
        except (RetryableError, SoftTimeLimitExceeded):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a bad event does to the script or to us
            if len(merged.batches) > 1:
                return self._each(shard, merged, may_load=may_load)
            self._bisect(shard, merged, error, may_load=may_load)
        return may_load

    def _each(self, shard: int, merged: Merged, *, may_load: bool) -> bool:
        """One bad batch must not hold back its neighbours: each has its own try."""
        for batch in merged.batches:
            may_load = self._apply(shard, [batch], may_load=may_load)
        return may_load

    def _bisect(self, shard: int, merged: Merged, error: Exception, *, may_load: bool) -> None:
        """Apply what can be applied of a bad batch. The rest stays pending, or is dead-lettered at its last try.

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
            self.attempts.note(shard, batch.batch_id, error)
        if batch.deliveries >= EVENT_ATTEMPTS or not bad:
            dead_letters = [event_dead_letter(shard, batch.batch_id, *one, attempts=EVENT_ATTEMPTS) for one in bad]
            self._store_dead_letters(shard, batch, dead_letters)

    def _store_dead_letters(self, shard: int, batch: TakenBatch, dead_letters: Sequence[DeadLetter]) -> None:
        """Drop a batch once its dead letters are written; while they cannot be, it comes back for it."""
        try:
            self.dead_letter_writer.store_dead_letters(dead_letters)
        except DatabaseUnavailableError as error:
            log.warning("dead_letters_put_off", shard=shard, batch_id=batch.batch_id, error=str(error))
            return
        self.patient_journal.drop(shard, batch.batch_id)

    def _put_back(self, shard: int, merged: Merged, error: RetryableError) -> None:
        self.metrics.count(BATCHES_POSTPONED, len(merged.batches), label=type(error).__name__)
        log.warning("batches_postponed", shard=shard, batches=len(merged.batches), error=str(error))
        self.path.note_fault(Station.APPLY, error, self.now_us())
        self.patient_journal.postpone(shard, merged.batch_ids)


def _events_of(packed: bytes) -> list[Event]:
    try:
        return unpack_batch(packed)
    except MalformedBatchError:
        return []
