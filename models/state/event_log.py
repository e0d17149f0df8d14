"""The shard's log: batches as they were applied, on their way to PostgreSQL.

One stream entry holds the batch as it arrived, the positions of the events that counted, the version of the call and
the unlocks it made. Entries leave only after PostgreSQL has committed them.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgpack
from redis import Redis

from models.events import Event, unpack_unchecked
from models.rules.amounts import join
from models.rules.rows import Evaluation, Unlock
from models.state.connection import state_errors
from models.state.flush_reads import ReadTrace
from models.state.keys import shard_keys
from models.state.scripts import register
from models.wire import FlushedEntry, LoggedEvaluation, LoggedUnlock


class LogEntry(NamedTuple):
    """One applied batch."""

    entry_id: bytes
    shard: int
    record_version: int
    applied_at: int
    events: list[Event]
    """Those events of the batch that counted."""
    unlocks: list[Unlock]
    size: int
    """Bytes of the whole batch, its unlocks and evaluations: what the bound on bytes counts."""
    revision: int
    """The newest publication of rules that was known when they were applied."""
    evaluations: list[Evaluation]
    tenants: list[str | int]
    """Each tenant and its bytes of the entry, flat; empty where a former release wrote it."""


class ShardLog:
    """The logs of all shards."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._acknowledge = register(redis, "acknowledge_log")

    def read(self, shard: int, limit: int, *, after: bytes | None = None) -> list[LogEntry]:
        """The oldest entries, or those after an entry already read.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        start = b"-" if after is None else b"(" + after
        with state_errors():
            entries: Any = self._redis.xrange(shard_keys(shard).log, min=start, count=limit)
        return [_entry(shard, entry_id, fields) for entry_id, fields in entries]

    def read_for_flush(
        self, shard: int, limit: int, trace: ReadTrace, *, after: bytes | None = None
    ) -> tuple[list[LogEntry], int]:
        """The same for a flush, and the shard's version at that time: all that it applied by then is in the log, or
        was acknowledged.

        Raises:
            StateUnavailableError: the state Redis did not answer.
            HistoryChangedError: it went back in time since the flush began to read.
        """
        start, keys = b"-" if after is None else b"(" + after, shard_keys(shard)
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            trace.count(pipeline)
            pipeline.get(keys.record_version)
            pipeline.xrange(keys.log, min=start, count=limit)
            counted, _, version, entries = pipeline.execute()
        trace.check(counted)
        return [_entry(shard, entry_id, fields) for entry_id, fields in entries], int(version or 0)

    def holds(self, shard: int, entry: LogEntry) -> bool:
        """Whether an entry is still in the log."""
        with state_errors():
            found: Any = self._redis.xrange(shard_keys(shard).log, min=entry.entry_id, max=entry.entry_id)
        return bool(found)

    def acknowledge(self, shard: int, entries: Sequence[LogEntry], *, token: str) -> None:
        """Drop entries that PostgreSQL has committed by the flush of that token, if Redis knows it still."""
        keys = shard_keys(shard)
        sizes = msgpack.packb([FlushedEntry(entry.entry_id.decode(), entry.size, entry.tenants) for entry in entries])
        with state_errors():
            self._acknowledge(keys=[keys.log, keys.log_bytes, keys.held, keys.history], args=[sizes, token])

    def lengths(self, shards: int) -> list[int]:
        """The number of entries of each shard's log, in one round trip."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(shards):
                pipeline.xlen(shard_keys(shard).log)
            lengths: list[int] = pipeline.execute()
        return lengths


def _entry(shard: int, entry_id: bytes, fields: dict[bytes, bytes]) -> LogEntry:
    batch = unpack_unchecked(fields[b"batch"])
    indexes: list[int] = msgpack.unpackb(fields[b"places"])
    unlocks = [LoggedUnlock(*given) for given in msgpack.unpackb(fields.get(b"unlocks", b"\x90"))]
    return LogEntry(
        entry_id=entry_id,
        shard=shard,
        record_version=int(fields[b"stamp"]),
        applied_at=int(fields[b"at"]),
        events=[batch[index] for index in indexes],
        unlocks=[Unlock(batch[unlock.event], *unlock[1:]) for unlock in unlocks],
        size=sum(len(fields.get(name, b"")) for name in (b"batch", b"unlocks", b"evaluations")),
        revision=int(fields.get(b"revision", b"0")),
        evaluations=[
            _evaluation(batch, given, int(fields[b"at"]))
            for given in msgpack.unpackb(fields.get(b"evaluations", b"\x90"))
        ],
        tenants=msgpack.unpackb(fields.get(b"tenants", b"\x90")),
    )


def _evaluation(batch: Sequence[Event], given: Sequence[Any], evaluated_at: int) -> Evaluation:
    said = LoggedEvaluation(*given)
    return Evaluation(
        batch[said.event],
        said.goal_id,
        said.period,
        said.challenge_id,
        said.rule_version,
        said.status_before,
        said.status,
        _number(said.progress_before),
        _number(said.progress_after),
        said.decision,
        evaluated_at,
    )


def _number(shown: Any) -> float | Decimal:
    """A progress as the script shows it: a ``sum`` by its two halves."""
    return join(*shown) if isinstance(shown, list) else shown
