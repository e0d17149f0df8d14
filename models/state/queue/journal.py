"""The journal: accepted batches that are not applied yet, for each shard a queue of streams in Redis (promise P1).

In come batches from the receiver; a worker reads them (``tasks/broker``), and they leave when the script that applies
them acknowledges their entries in the same step, or when they are given up. What a worker was given and did not apply
stays pending in its stream, which counts how often it was given.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from redis import Redis

from models.errors import Bound
from models.state.connection import state_errors
from models.state.keys import former_journal_keys, layout_key, shard_keys, stream_keys
from models.state.queue.batches import Appended, Batch, Returned, TakenBatch
from models.state.scripts import ScriptCall, call_all, call_replicated, register
from models.wire import Limit, Text

GROUP = Text.GROUP
"""Of each stream; entries count their own deliveries and idle times."""
FAIR_STREAMS = Limit.FAIR_STREAMS
"""Of a shard's streams those that workers read from."""
LONGEST_WAIT = timedelta(minutes=5)
"""Between two deliveries of an entry."""
REPLICA_PATIENCE = timedelta(seconds=1)
"""How long an append waits for replicas; well below the time limit of the connection."""
_RETURNED, _RETURNED_BYTES = 200, 512 * 1024
"""Of a shard that come back at a time."""
_MOVED = 200
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
    """Since when batches wait that no worker was given, that is since one did something last; 0 where none waits."""


class JournalBounds(NamedTuple):
    """What all shards together may hold that PostgreSQL lacks; each has its equal part of the two numbers."""

    max_bytes: int
    """Packed batches in journal and log."""
    max_age: timedelta = timedelta.max
    """How long batches may wait without a worker that takes any."""
    max_dirty_users: int = sys.maxsize
    """Users with changes."""
    replicas: int = 0
    """How many replicas must have a batch before it counts as accepted."""


class Journal:
    """The journals of all shards."""

    def __init__(self, redis: Redis, *, shards: int, bounds: JournalBounds, retry_after: timedelta) -> None:
        self._replicas = bounds.replicas
        self._redis = redis
        self._bounds = bounds
        self.resize(shards)
        self._max_age_ms = _ms(bounds.max_age)
        self._retry_after_ms = _ms(retry_after)
        self._append = register(redis, "append_journal")
        self._claim = register(redis, "claim_entries")
        self._take_out = register(redis, "take_out_entry")
        self._split = register(redis, "split_entry")
        self._look = register(redis, "look_at_journal")
        self._take_up = register(redis, "take_up_journal")

    def resize(self, shards: int) -> None:
        """Share the bounds between so many shards from now on."""
        self._max_bytes_per_shard = self._bounds.max_bytes // shards
        self._max_dirty_per_shard = max(1, self._bounds.max_dirty_users // shards)

    def append(self, batches: Sequence[Batch], now_ms: int) -> Appended:
        """Accept batches in one round trip. A shard takes none that is at a bound, or none of a tenant.

        Raises:
            StateUnavailableError: the state Redis did not answer; what was written is not known.
        """
        calls = []
        for batch in batches:
            keys = shard_keys(batch.shard)
            counts = [keys.journal_bytes, keys.log_bytes, keys.dirty, keys.held, keys.waiting, keys.history]
            bounds = [self._max_bytes_per_shard, self._max_age_ms, self._max_dirty_per_shard]
            call = ScriptCall(
                self._append,
                keys=[*counts, layout_key(batch.shard), *stream_keys(batch.shard)],
                args=[batch.packed, now_ms, *bounds, batch.shards],
            )
            calls.append(call)
        with state_errors():
            found, confirmed = call_replicated(
                self._redis, calls, replicas=self._replicas, timeout_ms=_ms(REPLICA_PATIENCE)
            )
        replies = list(zip(batches, found, strict=True))
        short = f"{confirmed} of {self._replicas} replicas of the state Redis have the events"
        return Appended(
            [batch._replace(batch_id=reply.decode()) for batch, reply in replies if isinstance(reply, bytes)],
            [(batch, _BOUNDS[reply]) for batch, reply in replies if isinstance(reply, int)],
            short if confirmed < self._replicas else "",
        )

    def returned(self, shards: Iterable[int]) -> dict[int, list[Returned]]:
        """What was given to workers, is not applied, and is due to be given again, to the caller; in one round trip.

        Raises:
            StateUnavailableError: the state Redis did not answer; what was claimed comes back.
        """
        asked = list(shards)
        args = [self._retry_after_ms, _ms(LONGEST_WAIT), _RETURNED, _RETURNED_BYTES]
        with state_errors():
            found = call_all(self._redis, [ScriptCall(self._claim, stream_keys(shard), args) for shard in asked])
        return {
            shard: [
                Returned(TakenBatch(name.decode(), packed, given), bool(alone)) for name, packed, given, alone in rows
            ]
            for shard, rows in zip(asked, found, strict=True)
            if rows
        }

    def postpone(self, shard: int, names: Sequence[str]) -> None:
        """Let entries wait again from the start: they failed for a passing reason, which is no attempt of theirs.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        self._reclaim({shard: names}, idle=0, deliveries=1)

    def hold(self, entries: Mapping[int, Sequence[str]]) -> None:
        """Let nobody else be given what a worker has in hand, by shard; raises as ``postpone`` does."""
        self._reclaim(entries, idle=0)

    def give_back(self, entries: Mapping[int, Sequence[str]]) -> None:
        """Let somebody else be given at once what a worker will not apply, by shard; raises as ``postpone`` does."""
        self._reclaim(entries, idle=self._retry_after_ms)

    def give_back_untried(self, shards: Mapping[int, Sequence[TakenBatch]]) -> None:
        """The same of what was claimed and never begun: that was no delivery; raises as ``postpone`` does."""
        by_count: defaultdict[int, dict[int, list[str]]] = defaultdict(dict)
        for shard, batches in shards.items():
            for batch in batches:
                by_count[batch.deliveries].setdefault(shard, []).append(batch.batch_id)
        for deliveries, entries in by_count.items():
            self._reclaim(entries, idle=_ms(LONGEST_WAIT), deliveries=deliveries - 1)

    def _reclaim(self, entries: Mapping[int, Sequence[str]], *, idle: int, deliveries: int | None = None) -> None:
        by_stream: defaultdict[str, list[Any]] = defaultdict(list)
        for shard, names in entries.items():
            for name in names:
                stream, entry_id = split_name(shard, name)
                by_stream[stream].append(entry_id)
        if not by_stream:
            return
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for stream, ids in by_stream.items():
                pipeline.xclaim(stream, GROUP, GROUP, 0, ids, idle=idle, retrycount=deliveries, justid=True)
            _raise_first(pipeline.execute(raise_on_error=False), besides="NOGROUP")  # which has nothing pending

    def drop(self, shard: int, name: str) -> None:
        """Take out a batch that was dead-lettered, or put elsewhere."""
        with state_errors():
            self._take_out(keys=_counted_keys(shard), args=[name])

    def split(self, shard: int, name: str, parts: Sequence[bytes]) -> None:
        """Replace a batch by the parts of it, in one step; each is given to a worker alone, without an attempt so far.

        Raises:
            StateUnavailableError: the state Redis did not answer. Splitting again is safe.
        """
        with state_errors():
            self._split(keys=_counted_keys(shard), args=[name, *parts])

    def states(self, shards: int) -> list[JournalState]:
        """How full each shard's journal is, in one round trip."""
        calls = []
        for shard in range(shards):
            keys = shard_keys(shard)
            former = former_journal_keys(shard)[0]
            calls.append(ScriptCall(self._look, [keys.journal_bytes, keys.waiting, former, *stream_keys(shard)], []))
        with state_errors():
            return [JournalState(*reply) for reply in call_all(self._redis, calls)]

    def take_up(self, shards: int, now_ms: int) -> int:
        """Move accepted batches of a former release to where workers read them; returns how many.

        Raises:
            StateUnavailableError: the state Redis did not answer. Doing it again goes on.
        """
        calls = []
        for shard in range(shards):
            keys, (journal, index, *others) = shard_keys(shard), former_journal_keys(shard)
            counted = [keys.journal_bytes, keys.held, keys.waiting]
            calls.append(
                ScriptCall(self._take_up, [journal, index, *counted, *others, *stream_keys(shard)], [now_ms, _MOVED])
            )
        moved = 0
        with state_errors():
            while found := sum(call_all(self._redis, calls)):
                moved += found
        return moved


def split_name(shard: int, name: str) -> tuple[str, str]:
    """The stream and the id of an entry; a name that is none means no entry."""
    number, _, entry_id = name.partition(":")
    return f"{stream_keys(shard)[0][:-1]}{number}", entry_id


def make_groups(redis: Redis, streams: Iterable[str]) -> None:
    """Make the consumer groups of streams where they are missing: new, or of a Redis that was emptied.

    Raises:
        StateUnavailableError: the state Redis did not answer.
    """
    with state_errors(), redis.pipeline(transaction=False) as pipeline:
        for stream in streams:
            pipeline.xgroup_create(stream, GROUP, id="0", mkstream=True)
        _raise_first(pipeline.execute(raise_on_error=False), besides="BUSYGROUP")


def _raise_first(replies: Sequence[object], *, besides: str) -> None:
    """Raise the first error among replies that is not of this code."""
    for reply in replies:
        if isinstance(reply, Exception) and not str(reply).startswith(besides):
            raise reply


def _counted_keys(shard: int) -> list[str]:
    """A shard's queue, and what counts its entries."""
    keys = shard_keys(shard)
    return [keys.journal_bytes, keys.held, keys.waiting, *stream_keys(shard)]


def _ms(length: timedelta) -> int:
    return length // timedelta(milliseconds=1)
