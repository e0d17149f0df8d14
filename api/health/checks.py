"""The checks behind the receiver's readiness.

Their texts are public: no address, no name, no password.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple

from redis import Redis
from sqlalchemy import Engine

from api.health.history_check import HistoryCheck
from api.health.path_texts import listed
from api.health.readiness import Check
from config.settings import Settings
from models.database.checks.schema_release import require_tables
from models.database.checks.suitability import database_probe
from models.errors import NotReadyError
from models.state.checks.answers import own_keys, replica_probe, write_probe
from models.state.checks.requirements import RequirementsCheck
from models.state.connection import connect_state, state_errors
from models.state.fleet.installation import InstallationCopy
from models.state.keys import shard_keys
from models.state.progress.records import Records
from models.state.queue.journal import Journal, JournalBounds

FULL = 0.95
"""The part of a bound from which on a shard counts as full: the next batch may be refused already."""
WORKER_PATIENCE = timedelta(seconds=60)
"""How long the oldest batch of a shard may wait for a worker."""
FLUSH_PATIENCE = timedelta(seconds=30)
"""How long the oldest change may wait for PostgreSQL."""
_TIMEOUT_SECONDS = 2.0


class ShardLoad(NamedTuple):
    """What is queued in a shard."""

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
