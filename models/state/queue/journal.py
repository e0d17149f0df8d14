"""The journal: accepted batches that are not applied yet, in the state Redis (promise P1).

In come batches from the receiver; they leave when the script that applies them drops them in the same step, or when
the sweep finds that they never succeed. The queue carries a copy, the journal carries the promise: a worker that a
message wakes takes all that is ready, so that one message serves many batches when they come fast.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import random
from typing import Any, NamedTuple

from redis import Redis

from models.errors import Bound
from models.state.connection import state_errors
from models.state.keys import bell_key, layout_key, shard_keys, tries_key, turns_key
from models.state.queue.batches import Appended, Batch, Taken, TakenBatch, WaitingBatch
from models.state.scripts import ScriptCall, call_all, call_replicated, register

LONGEST_WAIT = timedelta(minutes=5)
"""The sweep publishes a waiting batch about this often at least: every wait may be a quarter longer by chance."""
REPLICA_PATIENCE = timedelta(seconds=1)
"""How long an append waits for replicas; well below the time limit of the connection."""
SPREAD = 0.25
_SEEDS = 2**31 - 2
_BOUNDS = {
    -1: Bound.BYTES,
    -2: Bound.AGE,
    -3: Bound.DIRTY_USERS,
    -4: Bound.TENANT_BYTES,
    -5: Bound.TENANT_DIRTY_USERS,
    -6: Bound.DATABASE_BEHIND,
    -7: Bound.LAYOUT,
}
"""The replies of the script that appends."""


class JournalState(NamedTuple):
    """How full a shard's journal is."""

    batches: int
    size: int
    """In bytes."""
    oldest_ms: int
    """When its oldest batch was accepted; 0 where there is none."""
    ready_ms: int
    """Since when batches that are ready wait for a worker, that is since it took some last; 0 where none is ready."""


class JournalBounds(NamedTuple):
    """What all shards together may hold that PostgreSQL lacks; each has its equal part of the two numbers."""

    max_bytes: int
    """Packed batches in journal and log."""
    max_age: timedelta = timedelta.max
    """How long batches may be ready without a worker that takes any."""
    max_dirty_users: int = sys.maxsize
    """Users with changes."""
    replicas: int = 0
    """How many replicas must have a batch before it counts as accepted."""


class Journal:
    """The journals of all shards."""

    def __init__(
        self,
        redis: Redis,
        *,
        shards: int,
        bounds: JournalBounds,
        retry_after: timedelta,
        chance: Callable[[], float] = random,
    ) -> None:
        """``chance`` draws from 0 to 1; it spreads the times at which waiting batches fall due."""
        self._replicas = bounds.replicas
        self._redis = redis
        self._chance = chance
        self._bounds = bounds
        self.resize(shards)
        self._max_age_ms = bounds.max_age // timedelta(milliseconds=1)
        self._retry_after_ms = retry_after // timedelta(milliseconds=1)
        self._append = register(redis, "append_journal")
        self._take = register(redis, "take_batches")
        self._claim = register(redis, "claim_batches")
        self._drop = register(redis, "drop_batch")
        self._split = register(redis, "split_batch")
        self._look = register(redis, "look_at_journal")

    def resize(self, shards: int) -> None:
        """Share the bounds between so many shards from now on."""
        self._max_bytes_per_shard = self._bounds.max_bytes // shards
        self._max_dirty_per_shard = max(1, self._bounds.max_dirty_users // shards)

    def append(self, batches: Sequence[Batch], now_ms: int) -> Appended:
        """Write batches in one round trip. A shard takes none that is at a bound, or none of a tenant.

        Raises:
            StateUnavailableError: the state Redis did not answer; what was written is not known.
        """
        due = now_ms + self._retry_after_ms
        calls = []
        for batch in batches:
            keys = shard_keys(batch.shard)
            call = ScriptCall(
                self._append,
                keys=[
                    *(keys.journal, keys.journal_index, keys.journal_due, keys.journal_bytes, keys.log_bytes),
                    *(keys.ready, bell_key(batch.shard), keys.dirty, keys.held, turns_key(batch.shard), keys.history),
                    layout_key(batch.shard),
                ],
                args=[
                    *(batch.batch_id, batch.packed, now_ms, due, self._max_bytes_per_shard),
                    *(self._retry_after_ms, self._max_age_ms, self._max_dirty_per_shard, batch.shards),
                ],
            )
            calls.append(call)
        with state_errors():
            found, confirmed = call_replicated(
                self._redis, calls, replicas=self._replicas, timeout_ms=REPLICA_PATIENCE // timedelta(milliseconds=1)
            )
        replies = list(zip(batches, found, strict=True))
        short = f"{confirmed} of {self._replicas} replicas of the state Redis have the events"
        return Appended(
            [batch for batch, reply in replies if reply == 1],
            [(batch, _BOUNDS[reply]) for batch, reply in replies if reply in _BOUNDS],
            short if confirmed < self._replicas else "",
        )

    def take(self, shard: int, *, max_batches: int, max_bytes: int, now_ms: int) -> Taken:
        """Take batches that are ready, tenants by turns. They stay in the journal until they are applied.

        ``max_bytes`` counts 1 KiB for each event beside its bytes.

        Raises:
            StateUnavailableError: the state Redis did not answer; what was taken comes back by the sweep.
        """
        keys = shard_keys(shard)
        with state_errors():
            left, taken = self._take(
                keys=[keys.journal, keys.ready, bell_key(shard), keys.journal_due, turns_key(shard)],
                args=[max_batches, max_bytes, now_ms + self._retry_after_ms, now_ms],
            )
        pairs = zip(taken[::2], taken[1::2], strict=True)
        return Taken([TakenBatch(batch_id.decode(), packed) for batch_id, packed in pairs], left)

    def next_ready(self, shard: int) -> Batch | None:
        """The batch whose turn is next, which stays ready: its message brings a worker for all of them.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        keys = shard_keys(shard)
        with state_errors():
            found: list[Any] = self._redis.zrange(keys.ready, 0, 0)
            packed: Any = self._redis.hget(keys.journal, found[0]) if found else None
        # Without its bytes another worker has applied it meanwhile, and is at the others.
        return Batch(shard, found[0].decode(), packed) if packed is not None else None

    def claim_waiting(self, shard: int, *, now_ms: int, queued: int, limit: int) -> list[WaitingBatch]:
        """Batches that must be published again; each call puts their next due time off further.

        Those that were left behind for the first time are ready again, and share a message.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        keys = shard_keys(shard)
        longest = LONGEST_WAIT // timedelta(milliseconds=1)
        with state_errors():
            rows = self._claim(
                keys=[keys.journal, keys.journal_due, keys.journal_attempts, keys.ready, turns_key(shard)],
                args=[now_ms, self._retry_after_ms, longest, limit, queued, 1 + int(self._chance() * _SEEDS)],
            )
        return [WaitingBatch(batch_id.decode(), attempts, packed) for batch_id, attempts, packed in rows]

    def postpone(self, shard: int, batch_ids: Sequence[str], *, now_ms: int) -> None:
        """Let batches wait again from the start: they failed for a passing reason, which is no attempt of theirs."""
        keys = shard_keys(shard)
        due = {batch_id: now_ms + int(self._retry_after_ms * self._spread()) for batch_id in batch_ids}
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zadd(keys.journal_due, due, xx=True)
            pipeline.hdel(keys.journal_attempts, *batch_ids)
            pipeline.delete(*(tries_key(shard, batch_id) for batch_id in batch_ids))
            pipeline.execute()

    def _spread(self) -> float:
        return 1 + SPREAD * self._chance()

    def has(self, shard: int, batch_id: str) -> bool:
        """Whether a batch is accepted and not yet applied."""
        with state_errors():
            return bool(self._redis.hexists(shard_keys(shard).journal, batch_id))

    def drop(self, shard: int, batch_id: str) -> None:
        """Take out a batch that was dead-lettered."""
        with state_errors():
            self._drop(keys=_entry_keys(shard), args=[batch_id])

    def split(self, shard: int, batch_id: str, parts: Sequence[bytes], *, now_ms: int) -> None:
        """Replace a batch by the parts of it, in one step; they are due now, and begin without an attempt.

        Raises:
            StateUnavailableError: the state Redis did not answer. Splitting again is safe.
        """
        named = [(f"{batch_id}.{index}", packed) for index, packed in enumerate(parts)]
        with state_errors():
            self._split(keys=_entry_keys(shard), args=[batch_id, now_ms, *(value for pair in named for value in pair)])

    def states(self, shards: int) -> list[JournalState]:
        """How full each shard's journal is, in one round trip."""
        calls = []
        for shard in range(shards):
            keys = shard_keys(shard)
            names = [keys.journal, keys.journal_index, keys.journal_bytes, keys.ready, turns_key(shard)]
            calls.append(ScriptCall(self._look, names, []))
        with state_errors():
            return [JournalState(*reply) for reply in call_all(self._redis, calls)]


def _entry_keys(shard: int) -> list[str]:
    """Every key that knows of a batch."""
    keys = shard_keys(shard)
    return [
        *(keys.journal, keys.journal_index, keys.journal_due, keys.journal_bytes),
        *(keys.journal_attempts, keys.ready, keys.held),
    ]
