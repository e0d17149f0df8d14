"""The sweep: what waits in the journal too long is published again, and in the end dead-lettered (promise P1).

A message can vanish between the broker and a worker, and a worker with batches in its hands. The journal still has
them, so the sweep sends them once more; doing so needlessly is harmless, but must not make a long queue longer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from models.cold.dead_letters import DeadLetter
from models.cold.writing import FlushWriter
from models.errors import BrokerUnavailableError, MalformedBatchError
from models.events import Event, unpack_batch
from models.failpoints import failpoint
from models.hot.journal import Batch, Journal, WaitingBatch
from models.hot.meters import Meters

BATCHES_PER_SHARD = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Sweeps the journals of all shards."""

    shards: int
    max_attempts: int
    journal: Journal
    writer: FlushWriter
    queue_lengths: Callable[[int], list[int]]
    """The messages queued for each shard."""
    publish: Callable[[Sequence[Batch]], None]
    meters: Meters
    now_us: Callable[[], int]

    def sweep(self) -> int:
        """Publish waiting batches again; returns how many.

        Raises:
            StateUnavailableError, BrokerUnavailableError, DatabaseUnavailableError: the next sweep goes on.
        """
        queued = self.queue_lengths(self.shards)
        return sum(self._sweep_shard(shard, queued[shard]) for shard in range(self.shards))

    def _sweep_shard(self, shard: int, queued: int) -> int:
        now_ms = self.now_us() // 1000
        waiting = self.journal.claim_waiting(shard, now_ms=now_ms, queued=queued, limit=BATCHES_PER_SHARD)
        if waiting:
            failpoint("sweep.claimed")
        again = []
        for batch in waiting:
            if batch.attempts > self.max_attempts:
                self._bury(shard, batch)
            else:
                again.append(Batch(shard, batch.batch_id, batch.packed))
        if again:
            self.publish(again)
            failpoint("sweep.published", BrokerUnavailableError)
            self.meters.count("questline_batches_republished_total", len(again))
            log.warning("batches_republished", shard=shard, batches=len(again))
        return len(again)

    def _bury(self, shard: int, batch: WaitingBatch) -> None:
        events = _events_of(batch.packed)
        letter = DeadLetter(
            kind="batch",
            reason="out_of_attempts",
            error=f"not applied after {batch.attempts - 1} attempts",
            raw=batch.packed,
            event_ids=[event.event_id for event in events],
            tenant_id=events[0].tenant_id if events else None,
            shard=shard,
            batch_id=batch.batch_id,
            attempts=batch.attempts - 1,
        )
        self.writer.bury([letter])
        self.journal.drop(shard, batch.batch_id)
        self.meters.count("challenge_event_handler_events_failed_total", max(len(events), 1))
        log.error("batch_dead_lettered", shard=shard, batch_id=batch.batch_id, events=len(events))


def _events_of(packed: bytes) -> list[Event]:
    try:
        return unpack_batch(packed)
    except MalformedBatchError:
        return []
