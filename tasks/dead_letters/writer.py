"""Dead letters of events and batches: how they are made and written (promise P10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from traceback import format_exception

import structlog

from models.database.dead_letters.writer import DeadLetter
from models.database.flush.writer import FlushWriter
from models.dead_letter_reasons import Reason
from models.declarations.metrics import DEAD_LETTERS, EVENTS_FAILED
from models.errors import MalformedBatchError
from models.events import Event, pack_batch, unpack_batch
from models.fleet.probes import PROBE_TENANT
from models.state.metrics import Metrics
from models.state.queue.attempts import Record
from models.state.queue.batches import TakenBatch

APPLY_EVENTS = "questline.apply_events"
"""The name of the Celery task whose work ends here."""
TRACEBACK_CHARACTERS = 8000
"""The end of a traceback is kept: it says where."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeadLetterWriter:
    """Writes dead letters, and counts them."""

    writer: FlushWriter
    metrics: Metrics

    def store_dead_letters(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Commit dead letters, all or none.

        Raises:
            DatabaseUnavailableError: none was committed, or it is not known; writing again is safe.
        """
        given_up = [dead_letter for dead_letter in dead_letters if dead_letter.tenant_id == PROBE_TENANT]
        dead_letters = [dead_letter for dead_letter in dead_letters if dead_letter.tenant_id != PROBE_TENANT]
        for probe in given_up:  # the readiness of the receivers tells of it
            log.warning("probe_given_up", shard=probe.shard, error=probe.error)
        if dead_letters:
            self.writer.store_dead_letters(dead_letters)
        for dead_letter in dead_letters:
            self.metrics.count(DEAD_LETTERS, label=dead_letter.reason)
            if dead_letter.kind != "message":
                self.metrics.count(EVENTS_FAILED, max(len(dead_letter.event_ids), 1))
            log.error(
                "dead_lettered",
                kind=dead_letter.kind,
                reason=dead_letter.reason,
                task=dead_letter.task,
                shard=dead_letter.shard,
                batch_id=dead_letter.batch_id,
                event_ids=dead_letter.event_ids[:10],
                error=dead_letter.error,
            )


def event_dead_letter(shard: int, batch_id: str, event: Event, error: Exception, *, attempts: int) -> DeadLetter:
    """An event that breaks its own evaluation."""
    return DeadLetter(
        kind="batch",
        reason=Reason.EVALUATION_FAILED,
        error=str(error) or repr(error),
        raw=pack_batch([event]),
        event_ids=[str(event.event_id)],
        tenant_id=str(event.tenant_id),
        user_id=str(event.user_id),
        shard=shard,
        batch_id=batch_id,
        attempts=attempts,
        task=APPLY_EVENTS,
        exception=type(error).__name__,
        traceback="".join(format_exception(error))[-TRACEBACK_CHARACTERS:],
    )


def malformed_dead_letter(shard: int, batch: TakenBatch, error: str) -> DeadLetter:
    """Bytes of the journal that are no batch."""
    return DeadLetter(
        kind="batch",
        reason=Reason.MALFORMED_BATCH,
        error=error,
        raw=batch.packed,
        event_ids=[],
        shard=shard,
        batch_id=batch.batch_id,
        task=APPLY_EVENTS,
        exception=MalformedBatchError.__name__,
    )


def given_up_dead_letter(shard: int, batch: TakenBatch, known: Record) -> DeadLetter:
    """A batch that no worker could bring to an end, with what is known of the cause."""
    try:
        events = unpack_batch(batch.packed)
    except MalformedBatchError as error:
        return malformed_dead_letter(shard, batch, str(error))
    # As texts: what is no event may hold what no set takes.
    tenants, users = {str(event.tenant_id) for event in events}, {str(event.user_id) for event in events}
    return DeadLetter(
        kind="batch",
        reason=Reason.WORKER_KILLED if known.killed else Reason.OUT_OF_ATTEMPTS,
        error=known.error or f"not applied by {batch.deliveries - 1} attempts",
        raw=batch.packed,
        event_ids=[str(event.event_id) for event in events],
        tenant_id=tenants.pop() if len(tenants) == 1 else None,
        user_id=users.pop() if len(users) == 1 else None,
        shard=shard,
        batch_id=batch.batch_id,
        attempts=batch.deliveries - 1,
        task=APPLY_EVENTS,
        exception=known.exception,
        traceback=known.traceback,
    )
