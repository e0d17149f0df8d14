"""A whole installation as a test sees it: the receiver's way in, PostgreSQL's way out, and what must come of it."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from redis.exceptions import ResponseError
from sqlalchemy import Engine

from config.settings import Settings
from models.database.connection import connect_database
from models.errors import StateUnavailableError
from models.failpoints import now_us
from models.state.connection import connect_state
from models.state.keys import shard_keys, stream_keys
from models.state.queue.batches import Batch
from models.state.queue.journal import GROUP
from tests.support.environment import database_settings
from tests.support.servers import wait_until
from worker.celery_app import make_app
from worker.parts import make_journal
from worker.wiring import backlog, load_rulebook

SHARDS = 4
LOW, HIGH = range(2), range(2, SHARDS)
"""The shards of the cluster's two shard workers."""


def environment_of(redis_url: str, database_url: str, data: Path | None = None, **settings: str) -> dict[str, str]:
    """The settings of every process of an installation, with waits short enough for tests."""
    told: dict[str, str | None] = {
        "STATE_URL": redis_url,
        "BROKER_URL": redis_url,
        **database_settings(database_url),
        "QUESTLINE_DATA_DIR": str(data) if data else None,
        "SHARDS": str(SHARDS),
        "BUFFER_FLUSH_INTERVAL": "200ms",
        "JOURNAL_SWEEP_INTERVAL": "500ms",
        "JOURNAL_RETRY_AFTER": "1s",
        **settings,
    }
    return {name: value for name, value in told.items() if value is not None}


class Installation:
    """The servers of an installation, reached from the test's own process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.settings = Settings.model_validate({name.lower(): value for name, value in environment.items()})
        self.redis = connect_state(self.settings.state)
        self.engine: Engine = connect_database(self.settings.database_url, application="cluster-tests")
        self.app = make_app(self.settings)
        self.rulebook = load_rulebook(self.settings)
        self._journal = make_journal(self.settings, self.redis)

    def close(self) -> None:
        self.app.close()
        self.redis.close()
        self.engine.dispose()

    def accept(self, batches: Sequence[Batch]) -> None:
        """Journal as the receiver does; while the servers are away, go on asking as its callers do."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self._journal.append(batches, now_us() // 1000)
            except StateUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def queued(self, shards: Iterable[int] = range(SHARDS)) -> int:
        """Batches of these shards that no worker was given yet."""
        return self.journaled(shards) - len(self.held(shards))

    def journaled(self, shards: Iterable[int] = range(SHARDS)) -> int:
        """Batches of these shards that were accepted and not yet applied."""
        states = self._journal.states(SHARDS)
        return sum(states[shard].batches for shard in shards)

    def held(self, shards: Iterable[int] = range(SHARDS)) -> list[tuple[str, bytes]]:
        """Stream and id of the batches that workers, dead ones too, were given and have not applied."""
        found = []
        for stream in (stream for shard in shards for stream in stream_keys(shard)):
            with suppress(ResponseError):  # no worker has made the group yet
                rows: Any = self.redis.xpending_range(stream, GROUP, "-", "+", 10_000)
                found += [(stream, row["message_id"]) for row in rows]
        return found

    def redeliver(self) -> int:
        """Let it be long ago that workers were given what they hold."""
        held = self.held()
        for stream, entry_id in held:
            self.redis.xclaim(stream, GROUP, GROUP, 0, [entry_id], idle=3_600_000, justid=True)
        return len(held)

    def applied(self, shards: Iterable[int]) -> int:
        """How many events workers have applied in these shards."""
        return sum(int(self.redis.hget(shard_keys(shard).counts, "applied") or 0) for shard in shards)

    def quiet(self) -> None:
        """Wait until nothing is on its way any more, what a dead worker or a lost connection left behind included."""
        wait_until(
            lambda: backlog(self.settings) == 0 and self.redeliver() == 0,
            seconds=40,
            message=lambda: f"queued {self.queued()}, held {self.held()}, backlog {backlog(self.settings)}",
        )

    @contextmanager
    def database_held(self) -> Iterator[None]:
        """Keep workers inside the batch they have: loading a user's record waits for a lock of ours."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("LOCK TABLE user_goal_progress IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of PostgreSQL."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement, values)]


def in_parts(batches: Sequence[Batch], size: int) -> Iterator[Sequence[Batch]]:
    """The batches in the portions of a receiver's group commits."""
    return (batches[at : at + size] for at in range(0, len(batches), size))
