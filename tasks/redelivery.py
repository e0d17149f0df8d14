"""The sweep: what waits in the journal too long is published again, and in the end dead-lettered (promise P1).

A message can vanish between the broker and a worker, and a worker with batches in its hands. The journal still has
them, so the sweep sends them once more; doing so needlessly is harmless, but must not make a long queue longer. Only
what workers have tried in vain is given up: while nobody takes a shard's messages, its batches wait.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from models.database.dead_letters.writer import DeadLetter
from models.declarations.metrics import BATCHES_REPUBLISHED
from models.errors import BrokerUnavailableError, MalformedBatchError
from models.events import Event, pack_batch, unpack_batch
from models.failpoints import failpoint
from models.state.metrics import Metrics
from models.state.queue.attempts import Record, Tries
from models.state.queue.batches import Batch, WaitingBatch
from models.state.queue.journal import Journal
from tasks.dead_letters.writer import DeadLetterWriter, given_up_dead_letter
from tasks.retries import Retries

BATCHES_PER_SHARD = 500
TRIES_TOGETHER = 3
"""How often workers try a batch as a whole; then each of its events has tries of its own."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Sweeps the journals of all shards."""

    shards: int
    max_attempts: int
    """Tries by workers before a batch is given up."""
    journal: Journal
    tries: Tries
    dead_letter_writer: DeadLetterWriter
    queue_lengths: Callable[[int], list[int]]
    """The messages queued for each shard."""
    publish: Callable[[Sequence[Batch]], None]
    retries: Retries
    metrics: Metrics
    now_us: Callable[[], int]

    def sweep(self) -> int:
        """Publish waiting batches again, and give up what never succeeds; returns how many were published.

        Raises:
            StateUnavailableError, BrokerUnavailableError, DatabaseUnavailableError: the next sweep goes on.
        """
        queued = self.retries(self.queue_lengths, self.shards)
        published, given_up = 0, []
        for shard in range(self.shards):
            again, lost = self._claim(shard, queued[shard])
            self._publish(shard, again)
            published += len(again)
            given_up += [(shard, batch, known) for batch, known in lost]
        self._store_dead_letters(given_up)  # last: PostgreSQL may be away
        return published

    def _claim(self, shard: int, queued: int) -> tuple[list[Batch], list[tuple[WaitingBatch, Record]]]:
        """The batches to publish, and those to give up; what must be split is split."""
        now_ms = self.now_us() // 1000
        waiting = self.retries(self.journal.claim_waiting, shard, now_ms=now_ms, queued=queued, limit=BATCHES_PER_SHARD)
        if waiting:
            failpoint("sweep.claimed")
        tried = self.retries(self.tries.of, shard, [batch.batch_id for batch in waiting]) if waiting else []
        again, lost = [], []
        for batch, known in zip(waiting, tried, strict=True):
            if known.tries >= min(TRIES_TOGETHER, self.max_attempts) and self._split(shard, batch, now_ms):
                continue
            if known.tries >= self.max_attempts:
                lost.append((batch, known))
            else:
                again.append(Batch(shard, batch.batch_id, batch.packed))
        return again, lost

    def _split(self, shard: int, batch: WaitingBatch, now_ms: int) -> bool:
        """Take a batch of several events apart; the next sweep publishes each. Tells whether there were several."""
        events = _events_of(batch.packed)
        if len(events) <= 1:
            return False
        self.retries(
            self.journal.split, shard, batch.batch_id, [pack_batch([event]) for event in events], now_ms=now_ms
        )
        log.warning("batch_split", shard=shard, batch_id=batch.batch_id, events=len(events))
        return True

    def _publish(self, shard: int, again: Sequence[Batch]) -> None:
        if again:
            self.retries(self.publish, again)
            failpoint("sweep.published", BrokerUnavailableError)
            self.metrics.count(BATCHES_REPUBLISHED, len(again))
            log.warning("batches_republished", shard=shard, batches=len(again))

    def _store_dead_letters(self, given_up: Sequence[tuple[int, WaitingBatch, Record]]) -> None:
        dead_letters: list[DeadLetter] = [given_up_dead_letter(shard, batch, known) for shard, batch, known in given_up]
        self.dead_letter_writer.store_dead_letters(dead_letters)
        for shard, batch, _ in given_up:
            self.retries(self.journal.drop, shard, batch.batch_id)


def _events_of(packed: bytes) -> list[Event]:
    try:
        return unpack_batch(packed)
    except MalformedBatchError:
        return []
