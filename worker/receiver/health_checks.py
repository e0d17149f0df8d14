"""What the receiver's readiness is made of. Each text may be read by anybody: no address, no name, no password."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError
from sqlalchemy import Engine

from api.health.readiness import AWAY, Check
from config.settings import Settings
from models.errors import NotReadyError, OnlyReadsError, UnsuitableDatabaseError
from models.state.connection import connect_state, state_errors
from models.state.fleet.installation import InstallationCopy
from models.state.keys import PROBE, shard_keys
from models.state.progress.records import Records
from models.state.queue.journal import Journal, JournalBounds
from models.state.server.key_types import foreign_keys_of_state
from models.state.server.servers import UnfitServerError
from models.state.server.tls_faults import tls_fault
from worker.database_check import check_database
from worker.receiver.history_check import HistoryCheck
from worker.receiver.path_texts import listed
from worker.redis_requirements import RequirementsCheck
from worker.schema_release import require_tables

FULL = 0.95
"""The part of a bound from which on a shard counts as full: the next batch may be refused already."""
WORKER_PATIENCE = timedelta(seconds=60)
"""How long the oldest batch of a shard may wait for a worker."""
FLUSH_PATIENCE = timedelta(seconds=30)
"""How long the oldest change may wait for PostgreSQL."""
_PROBE_SECONDS = 60
_NAMED = 3
"""How many foreign keys are named."""
_TIMEOUT_SECONDS = 2.0
_REPLICA_MS = 500
"""How long replicas may take to say how far they are."""


class ShardLoad(NamedTuple):
    """What waits in a shard."""

    held_bytes: int
    """Of the journal and the log: what the bound counts."""
    ready_since_ms: int
    """Since when batches that are ready wait for a worker; 0 where there is none."""
    dirty_users: int


class Backlog:
    """What waits in the shards, held against the settings' bounds."""

    def __init__(self, settings: Settings, redis: Redis, records: Records, now_us: Callable[[], int]) -> None:
        self._settings, self._redis, self._records, self._now_us = settings, redis, records, now_us
        self._journal = Journal(  # only to look at
            redis,
            shards=settings.shards,
            bounds=JournalBounds(settings.journal_max_bytes),
            retry_after=settings.journal_retry_after,
        )

    def resize(self, shards: int) -> None:
        """Look at so many shards from now on."""
        self._settings = self._settings.model_copy(update={"shards": shards})

    @property
    def shard_count(self) -> int:
        """How many shards are looked at."""
        return self._settings.shards

    def keys(self) -> None:
        """Whether the keys of every shard hold what Questline wrote.

        Raises:
            NotReadyError: others have taken some.
        """
        own_keys(self._redis, self._settings.shards)

    def layout(self) -> None:
        """Whether the number of shards stays as it is.

        Raises:
            NotReadyError: it is being changed.
        """
        record = InstallationCopy(self._redis).read()
        if record is not None and record.change is not None:
            raise NotReadyError("being changed: no events are accepted until that is done")

    def journal(self) -> None:
        """Whether the receiver takes anything.

        Raises:
            NotReadyError: every shard is full.
        """
        if len(self._full()) == self._settings.shards:
            raise NotReadyError("full: workers or the flush are behind, and nothing is accepted until they catch up")

    def shards(self) -> None:
        """Whether every shard takes events.

        Raises:
            NotReadyError: some are full; the text names them.
        """
        full = self._full()
        if full:
            raise NotReadyError(f"full: {listed(full)}; requests with events of these shards are refused")

    def workers(self) -> None:
        """Whether workers take what is accepted.

        Raises:
            NotReadyError: batches have waited for longer than ``WORKER_PATIENCE``.
        """
        limit = (self._now_us() - WORKER_PATIENCE // timedelta(microseconds=1)) // 1000
        waiting = [shard for shard, load in enumerate(self._loads()) if 0 < load.ready_since_ms < limit]
        if waiting:
            raise NotReadyError(f"no worker takes the batches of {listed(waiting)}")

    def flush(self) -> None:
        """Whether changes come to PostgreSQL.

        Raises:
            NotReadyError: one has waited for longer than ``FLUSH_PATIENCE``.
        """
        since = self._records.oldest_change(self._settings.shards)
        waited = timedelta(microseconds=self._now_us() - since) if since else timedelta()
        if waited > FLUSH_PATIENCE:
            raise NotReadyError(f"changes wait for PostgreSQL for {waited // timedelta(seconds=1)} s")

    def _full(self) -> list[int]:
        settings = self._settings
        room = FULL * (settings.journal_max_bytes // settings.shards)
        users = max(1, settings.dirty_max_users // settings.shards)
        oldest_ms = (self._now_us() - settings.journal_max_age // timedelta(microseconds=1)) // 1000
        return [
            shard
            for shard, load in enumerate(self._loads())
            if load.held_bytes >= room or load.dirty_users >= users or 0 < load.ready_since_ms < oldest_ms
        ]

    def _loads(self) -> list[ShardLoad]:
        states = self._journal.states(self._settings.shards)
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(self._settings.shards):
                keys = shard_keys(shard)
                pipeline.get(keys.log_bytes)
                pipeline.zcard(keys.dirty)
            replies = pipeline.execute()
        return [
            ShardLoad(state.size + int(logged or 0), state.ready_ms, dirty)
            for state, logged, dirty in zip(states, replies[::2], replies[1::2], strict=True)
        ]


def make_backlog(settings: Settings, records: Records, now_us: Callable[[], int]) -> Backlog:
    """What waits in the shards, by a connection of its own; contacts no server."""
    return Backlog(settings, connect_state(settings.state, socket_timeout=_TIMEOUT_SECONDS), records, now_us)


def receiver_checks(
    settings: Settings, engine: Engine, own: Mapping[str, Check], backlog: Backlog
) -> tuple[Mapping[str, Check], Mapping[str, Check]]:
    """What the receiver needs, ``own`` included, and what may be away for a while; contacts no server."""
    state = connect_state(settings.state, socket_timeout=_TIMEOUT_SECONDS)
    broker = connect_state(settings.broker, socket_timeout=_TIMEOUT_SECONDS)
    needed: dict[str, Check] = {
        "state": lambda: write_probe(state),
        "state_keys": backlog.keys,
        "redis": RequirementsCheck(settings),
        "journal": backlog.journal,
        "history": HistoryCheck(state, engine, lambda: backlog.shard_count),
        **own,
    }
    if settings.journal_replicas:
        needed["replicas"] = lambda: replica_probe(state, settings.journal_replicas)

    def database() -> None:
        database_probe(engine)
        require_tables(engine)

    useful: dict[str, Check] = {
        "broker": lambda: write_probe(broker),
        "database": database,
        "layout": backlog.layout,
        "shards": backlog.shards,
        "workers": backlog.workers,
        "flush": backlog.flush,
    }
    return needed, useful


def write_probe(redis: Redis) -> None:
    """Write one small key: a Redis that answers but takes no writes is of no use.

    Raises:
        NotReadyError: it does not answer, or refuses.
    """
    try:
        redis.set(PROBE, "1", ex=_PROBE_SECONDS)
    except RedisError as error:
        raise NotReadyError(_redis_fault(error)) from error


def own_keys(redis: Redis, shards: int) -> None:
    """Whether every key of a shard holds what we wrote.

    Raises:
        StateUnavailableError: Redis does not answer.
        NotReadyError: another application wrote there; the text names the keys.
    """
    found = foreign_keys_of_state(redis, shards)
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise NotReadyError(f"not ours: {'; '.join(map(str, found[:_NAMED]))}{more}")


def replica_probe(redis: Redis, wanted: int) -> None:
    """Count the replicas that are in step.

    Raises:
        StateUnavailableError: the server does not answer.
        NotReadyError: there are too few.
    """
    with state_errors():
        found: Any = redis.wait(wanted, _REPLICA_MS)
    if found < wanted:
        raise NotReadyError(f"the state Redis has {found} of the {wanted} that JOURNAL_REPLICAS asks for")


def database_probe(engine: Engine) -> None:
    """Ask PostgreSQL whether it can be used and takes writes.

    Raises:
        DatabaseUnavailableError: it does not answer.
        NotReadyError: it cannot be used as it is, or is a standby.
    """
    try:
        check_database(engine)
    except (UnsuitableDatabaseError, OnlyReadsError) as error:
        raise NotReadyError(str(error).removeprefix("PostgreSQL ")) from error


def _redis_fault(error: RedisError) -> str:
    if isinstance(error, UnfitServerError | MasterNotFoundError):
        return str(error)
    if (fault := tls_fault(error)) is not None:
        return fault
    for kind, text in (
        (AuthenticationError, "refuses our password"),
        (BusyLoadingError, "is loading its data"),
        (OutOfMemoryError, "takes no writes: it is at its maxmemory"),
        (ReadOnlyError, "takes no writes: it is a replica"),
        ((RedisConnectionError, RedisTimeoutError), AWAY),
    ):
        if isinstance(error, kind):
            return text
    return _refusal(str(error)) if isinstance(error, ResponseError) else AWAY


def _refusal(text: str) -> str:
    for code, meaning in (
        ("MISCONF", "it cannot save to its disk"),
        ("NOREPLICAS", "it has too few replicas"),
        ("NOPERM", "our user may not write"),
    ):
        if text.startswith(code):
            return f"takes no writes: {meaning}"
    return "refuses our password" if text.startswith(("NOAUTH", "WRONGPASS")) else "takes no writes"
