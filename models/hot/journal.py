"""The journal: accepted batches that are not applied yet, in the state Redis (promise P1).

In come batches from the receiver; they leave when the script that applies them drops them in the same step, or when
the sweep finds that they never succeed. The queue carries a copy, the journal carries the promise.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from redis import Redis

from models.errors import JournalFullError
from models.hot.connection import state_errors
from models.hot.keys import shard_keys
from models.hot.scripts import register

LONGEST_WAIT = timedelta(minutes=5)
"""The sweep publishes a waiting batch at least this often."""


class Batch(NamedTuple):
    """Accepted events of one shard, packed by ``models.events.pack_batch``."""

    shard: int
    batch_id: str
    packed: bytes
    event_count: int


class WaitingBatch(NamedTuple):
    """A batch that has waited past its due time. ``attempts`` counts how often the sweep has taken it."""

    batch_id: str
    attempts: int
    packed: bytes


class JournalState(NamedTuple):
    """How full a shard's journal is. ``oldest_ms`` is when its oldest batch was accepted, 0 when it is empty."""

    batches: int
    size: int
    oldest_ms: int


class Journal:
    """The journals of all shards."""

    def __init__(self, redis: Redis, *, shards: int, max_bytes: int, retry_after: timedelta) -> None:
        self._redis = redis
        self._max_bytes_per_shard = max_bytes // shards
        self._retry_after_ms = retry_after // timedelta(milliseconds=1)
        self._append = register(redis, "append_journal")
        self._claim = register(redis, "claim_batches")
        self._drop = register(redis, "drop_batch")

    def append(self, batches: Sequence[Batch], now_ms: int) -> None:
        """Write batches in one round trip.

        Raises:
            JournalFullError: some shards hold too much that PostgreSQL does not have, and the error names them. Of
                those shards some batches may have been written; the batches of all others were.
            StateUnavailableError: the state Redis did not answer; what was written is not known.
        """
        due = now_ms + self._retry_after_ms
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for batch in batches:
                keys = shard_keys(batch.shard)
                self._append(
                    keys=[keys.journal, keys.journal_index, keys.journal_due, keys.journal_bytes, keys.log_bytes],
                    args=[batch.batch_id, batch.packed, now_ms, due, self._max_bytes_per_shard],
                    client=pipeline,
                )
            written = pipeline.execute()
        full = frozenset(batch.shard for batch, ok in zip(batches, written, strict=True) if not ok)
        if full:
            reason = f"shards {sorted(full)} hold {self._max_bytes_per_shard} bytes that PostgreSQL lacks"
            raise JournalFullError(reason, full)

    def claim_waiting(self, shard: int, *, now_ms: int, before_ms: int, limit: int) -> list[WaitingBatch]:
        """Batches due before a time; each call puts their next due time off further.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        keys = shard_keys(shard)
        longest = LONGEST_WAIT // timedelta(milliseconds=1)
        with state_errors():
            rows = self._claim(
                keys=[keys.journal, keys.journal_due, keys.journal_attempts],
                args=[now_ms, before_ms, self._retry_after_ms, longest, limit],
            )
        return [WaitingBatch(batch_id.decode(), attempts, packed) for batch_id, attempts, packed in rows]

    def due_at(self, shard: int, batch_id: str) -> int | None:
        """When (ms) the sweep may publish a batch again; None if the journal does not hold it."""
        with state_errors():
            score = self._redis.zscore(shard_keys(shard).journal_due, batch_id)
        return None if score is None else int(score)

    def postpone(self, shard: int, batch_id: str, *, now_ms: int) -> None:
        """Let a batch wait again from the start: it failed for a passing reason, which is no attempt of its own."""
        keys = shard_keys(shard)
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zadd(keys.journal_due, {batch_id: now_ms + self._retry_after_ms}, xx=True)
            pipeline.hdel(keys.journal_attempts, batch_id)
            pipeline.execute()

    def drop(self, shard: int, batch_id: str) -> None:
        """Take out a batch that was dead-lettered."""
        keys = shard_keys(shard)
        with state_errors():
            self._drop(
                keys=[
                    keys.journal,
                    keys.journal_index,
                    keys.journal_due,
                    keys.journal_bytes,
                    keys.journal_attempts,
                ],
                args=[batch_id],
            )

    def states(self, shards: int) -> list[JournalState]:
        """How full each shard's journal is, in one round trip."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(shards):
                keys = shard_keys(shard)
                pipeline.hlen(keys.journal)
                pipeline.get(keys.journal_bytes)
                pipeline.zrange(keys.journal_index, 0, 0, withscores=True)
            replies = pipeline.execute()
        return [
            JournalState(replies[at], int(replies[at + 1] or 0), int(replies[at + 2][0][1]) if replies[at + 2] else 0)
            for at in range(0, 3 * shards, 3)
        ]
