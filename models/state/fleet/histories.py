"""The histories of the shards: a hash for each, with these fields.

* ``epoch``: which records are trusted, those whose ``@loaded`` says the same; absent where the shard was never reset
* ``number``, ``token``, ``events``: the last flush that is known to be committed, and the events of all flushes
* ``next_number``, ``next_token``, ``next_events``: the flush that is about to be committed
* ``closed``: the reset that is under way; nothing is applied or loaded meanwhile
* ``behind``: PostgreSQL is older than what was flushed to it; nothing is accepted or flushed meanwhile
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

import msgpack
from redis import Redis

from models.errors import HistoryChangedError
from models.events import Event, pack_batch
from models.fleet.histories import FlushMark, StateHistory
from models.state.connection import state_errors
from models.state.event_log import LogEntry
from models.state.fleet.fences import revision_of
from models.state.flush_reads import ReadTrace
from models.state.keys import epoch_of, record_key, shard_keys, stream_keys
from models.state.scripts import ScriptCall, call_all, register


class Beginning(NamedTuple):
    """A flush of a shard that is about to be committed."""

    shard: int
    trace: ReadTrace
    found: FlushMark
    """PostgreSQL's last flush."""
    flushed_events: int
    """How many events PostgreSQL will have of all flushes."""
    rules: int = 0
    """The newest publication of rules that PostgreSQL has."""


class ShardHistories:
    """The histories of all shards."""

    def __init__(self, redis: Redis, *, record_ttl: timedelta) -> None:
        self._redis = redis
        self._record_ttl_ms = record_ttl // timedelta(milliseconds=1)
        self._begin = register(redis, "begin_flush")
        self._acknowledge = register(redis, "acknowledge_flush")
        self._return = register(redis, "return_entries")
        self._drop = register(redis, "drop_dirty")
        self._open = register(redis, "open_shard")

    def read(self, shards: Sequence[int]) -> dict[int, StateHistory]:
        """The histories of some shards, in one round trip.

        Raises:
            StateUnavailableError: the state Redis did not answer; so do all that follow.
        """
        return read_histories(self._redis, shards)

    def begin(self, flushes: Sequence[Beginning]) -> None:
        """Note flushes that are about to be committed, while PostgreSQL's rows of their shards are locked.

        Raises:
            HistoryChangedError: what one has read is not in this Redis, or the stores differ. Nothing may be written.
        """
        calls = [
            ScriptCall(
                self._begin,
                keys=[shard_keys(flush.shard).history, flush.trace.key, shard_keys(flush.shard).fence],
                args=[flush.trace.token, flush.trace.reads, *flush.found, flush.flushed_events, flush.rules],
            )
            for flush in flushes
        ]
        with state_errors():
            replies = call_all(self._redis, calls)
        changed = [flush.shard for flush, reply in zip(flushes, replies, strict=True) if reply != 1]
        if changed:
            raise HistoryChangedError(f"shards {changed} are not what the flush has read")

    def acknowledge(self, flushes: Mapping[int, str]) -> set[int]:
        """Note that flushes are committed, each known by its token; the shards whose Redis knows of it.

        Only what these flushes wrote may be taken off Redis.
        """
        calls = [
            ScriptCall(self._acknowledge, keys=[shard_keys(shard).history], args=[token])
            for shard, token in flushes.items()
        ]
        with state_errors():
            replies = call_all(self._redis, calls)
        return {shard for shard, reply in zip(flushes, replies, strict=True) if reply == 1}

    def mark_behind(self, shards: int) -> bool:
        """Let no shard accept anything, for PostgreSQL is older than Redis; tells whether this is new."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(shards):
                pipeline.hset(shard_keys(shard).history, "behind", "1")
            return any(pipeline.execute())

    def clear_behind(self, shards: int) -> bool:
        """Let all shards accept again; tells whether any did not."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(shards):
                pipeline.hdel(shard_keys(shard).history, "behind")
            return any(pipeline.execute())

    def close(self, shards: Sequence[int], reset: str) -> None:
        """Let nothing be applied to shards, or loaded, until ``open``; a reset that was cut off is taken over."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in shards:
                pipeline.hset(shard_keys(shard).history, "closed", reset)
            pipeline.execute()

    def return_entries(self, shard: int, reset: str, entries: Sequence[LogEntry], *, now_ms: int) -> int:
        """Put entries of a closed shard's log back into its journal; returns how many.

        Raises:
            HistoryChangedError: another reset has taken over, or Redis went back again.
        """
        keys = shard_keys(shard)
        packed = [(entry.entry_id, entry.size, entry.tenants, list(_batches(entry))) for entry in entries]
        with state_errors():
            reply: int = self._return(
                keys=[
                    keys.history,
                    keys.log,
                    keys.log_bytes,
                    keys.journal_bytes,
                    keys.held,
                    keys.waiting,
                    *stream_keys(shard),
                ],
                args=[reset, now_ms, msgpack.packb(packed, use_bin_type=False)],
            )
        return _still_closed(reply)

    def drop_dirty(self, shard: int, reset: str, members: Sequence[bytes]) -> None:
        """Take users off the dirty set of a closed shard; raises as ``return_entries`` does."""
        keys = shard_keys(shard)
        with state_errors():
            reply: int = self._drop(
                keys=[keys.history, keys.dirty, *(record_key(shard, name.decode()) for name in members)],
                args=[reset, self._record_ttl_ms, *members],
            )
        _still_closed(reply)

    def versions(self, shards: Sequence[int]) -> dict[int, int]:
        """The counters of shards; 0 where one is missing."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in shards:
                pipeline.get(shard_keys(shard).record_version)
            found = pipeline.execute()
        return {shard: int(version or 0) for shard, version in zip(shards, found, strict=True)}

    def open(self, shard: int, reset: str, flushed: FlushMark, *, flushed_events: int, version: int) -> None:
        """End a reset: a new epoch, in step with PostgreSQL; raises as ``return_entries`` does."""
        keys = shard_keys(shard)
        with state_errors():
            reply: int = self._open(
                keys=[keys.history, keys.record_version, keys.fence],
                args=[reset, uuid4().hex, *flushed, flushed_events, version],
            )
        _still_closed(reply or -1)


def read_histories(redis: Redis, shards: Sequence[int]) -> dict[int, StateHistory]:
    """The histories of some shards, in one round trip.

    Raises:
        StateUnavailableError: the state Redis did not answer.
    """
    with state_errors(), redis.pipeline(transaction=False) as pipeline:
        for shard in shards:
            pipeline.hgetall(shard_keys(shard).history)
            pipeline.get(shard_keys(shard).fence)
        found = pipeline.execute()
    return dict(zip(shards, map(_history, found[::2], found[1::2]), strict=True))


def _batches(entry: LogEntry) -> Iterator[bytes]:
    """The events of an entry as packed batches of one tenant each."""
    by_tenant: dict[str, list[Event]] = {}
    for event in entry.events:
        by_tenant.setdefault(event.tenant_id, []).append(event)
    for events in by_tenant.values():
        yield pack_batch(events)


def _still_closed(reply: int) -> int:
    if reply < 0:
        raise HistoryChangedError("the shard is not as the reset has left it")
    return reply


def _history(fields: Mapping[bytes, bytes], fence: bytes | None) -> StateHistory:
    told = {name.decode(): value.decode() for name, value in fields.items()}
    return StateHistory(
        epoch=epoch_of(fields.get(b"epoch")),
        flushed=FlushMark(int(told.get("number", 0)), told.get("token", "")),
        under_way=FlushMark(int(told["next_number"]), told["next_token"]) if "next_token" in told else None,
        flushed_events=int(told.get("events", 0)),
        is_closed="closed" in told,
        is_behind="behind" in told,
        fence=revision_of(fence),
    )
