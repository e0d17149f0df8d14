"""Probes as Redis knows them: where they are, which passed, what failed last.

| key | holds |
|---|---|
| ``ql:path:passed`` | when (µs) a probe went the whole way last, by the fingerprint of the settings it went by |
| ``ql:path:report`` | what the last probes found, for the other receivers and for `questline doctor` |
| ``ql:path:faults`` | the last error of a station, noted by the process that works there |
| ``ql:path:lease`` | the receiver that sends probes; it lapses |
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

import orjson
from redis import Redis

from models.errors import StateUnavailableError
from models.events import Event, identity_hash
from models.state.connection import state_errors
from models.state.keys import (
    PATH_FAULTS,
    PATH_LEASE,
    PATH_PASSED,
    PATH_REPORT,
    dedup_bucket_at,
    member,
    seen_key,
)
from models.state.queue.journal import GROUP, split_name

_REMEMBERED_US = timedelta(days=30) // timedelta(microseconds=1)
_FAULT_US = timedelta(minutes=2) // timedelta(microseconds=1)
"""How long an error counts as the last one of its station."""


class BatchStatus(Enum):
    """Where a batch is, as the journal tells."""

    READY = "ready"
    TAKEN = "taken"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Fault:
    """The last error of a station."""

    at_us: int
    kind: str
    """The name of its class."""
    error: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the last probes found. Without a station they went the whole way."""

    at_us: int
    station: str = ""
    shards: Sequence[int] = ()
    """Those whose probes wait at the station."""
    since_us: int = 0
    kind: str = ""
    error: str = ""


class PathState:
    """Reads and writes it."""

    def __init__(self, redis: Redis, window: timedelta) -> None:
        """``window`` is the accepted lateness, by which event ids are kept."""
        self._redis, self._window = redis, window

    def statuses(self, batches: Mapping[int, str]) -> dict[int, BatchStatus]:
        """Where batches are, one a shard, each by the name of its entry.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            for shard, name in batches.items():
                stream, entry_id = split_name(shard, name)
                pipeline.xrange(stream, entry_id, entry_id)
                pipeline.xpending_range(stream, GROUP, entry_id, entry_id, 1)
            replies = pipeline.execute(raise_on_error=False)  # there is no group where no worker has ever been
        found = zip(batches, replies[::2], replies[1::2], strict=True)
        return {
            shard: BatchStatus.GONE
            if not waits
            else BatchStatus.TAKEN
            if isinstance(given, list) and given
            else BatchStatus.READY
            for shard, waits, given in found
        }

    def forget_ids(self, probes: Mapping[int, Event], now_us: int) -> None:
        """Take the ids of these probes, one a shard, out of the sets of applied ones, which would grow by them.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        dedup_bucket = dedup_bucket_at(now_us, self._window)
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard, event in probes.items():
                user = member(event.tenant_id, event.user_id)
                pipeline.srem(seen_key(shard, user, dedup_bucket), identity_hash(event.event_id))
            pipeline.execute()

    def has_passed(self, fingerprint: str) -> bool:
        """Whether a probe went the whole way by these settings before.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            return bool(self._redis.hexists(PATH_PASSED, fingerprint))

    def remember(self, fingerprint: str, now_us: int) -> None:
        """Note that a probe went the whole way by these settings, and forget settings of long ago.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            known: Any = self._redis.hgetall(PATH_PASSED)
            old = [name for name, at in known.items() if int(at) < now_us - _REMEMBERED_US]
            if old:
                self._redis.hdel(PATH_PASSED, *old)
            self._redis.hset(PATH_PASSED, fingerprint, str(now_us))

    def note_fault(self, station: str, error: BaseException, now_us: int) -> None:
        """Note an error of a station; nothing happens where the state Redis is away, which others tell."""
        fault = Fault(now_us, type(error).__name__, str(error)[:1000])
        with suppress(StateUnavailableError), state_errors():
            self._redis.hset(PATH_FAULTS, station, orjson.dumps(asdict(fault)))

    def fault(self, station: str, now_us: int) -> Fault | None:
        """The last error of a station, unless it is of long ago.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            found: Any = self._redis.hget(PATH_FAULTS, station)
        fault = Fault(**orjson.loads(found)) if found else None
        return fault if fault is not None and fault.at_us > now_us - _FAULT_US else None

    def save(self, report: Report) -> None:
        """Put a report instead of the one before.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            self._redis.set(PATH_REPORT, orjson.dumps(asdict(report)))

    def report(self) -> Report | None:
        """The last report; None where there is none.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        with state_errors():
            found: Any = self._redis.get(PATH_REPORT)
        return Report(**orjson.loads(found)) if found else None

    def lead(self, name: str, length: timedelta) -> bool:
        """Take or renew the lease by which one receiver of several sends probes; tells whether it is held.

        Two that hold it briefly send a probe too many.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        milliseconds = length // timedelta(milliseconds=1)
        with state_errors():
            if self._redis.set(PATH_LEASE, name, nx=True, px=milliseconds):
                return True
            holder: Any = self._redis.get(PATH_LEASE)
            return holder == name.encode() and bool(self._redis.pexpire(PATH_LEASE, milliseconds))
