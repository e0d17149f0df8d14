"""A whole installation as a test sees it: the receiver's way in, PostgreSQL's way out, and what must come of it."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine

from config.settings import Settings
from models.database.connection import connect_database
from models.errors import BrokerUnavailableError, StateUnavailableError
from models.failpoints import now_us
from models.state.connection import connect_state
from models.state.keys import shard_keys
from models.state.queue.batches import Batch
from tasks.broker.publisher import BatchPublisher, QueuePeek
from tests.support.environment import database_settings
from tests.support.servers import wait_until
from worker.celery_app import make_app
from worker.wiring import backlog, load_rulebook, make_journal

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
        self._publisher = BatchPublisher(self.app)
        self._peek = QueuePeek(self.settings.broker)

    def close(self) -> None:
        self.app.close()
        self.redis.close()
        self.engine.dispose()

    def accept(self, batches: Sequence[Batch]) -> None:
        """Journal and publish as the receiver does; while the servers are away, go on asking as its callers do."""
        deadline = time.monotonic() + 30
        while True:
            try:
                appended = self._journal.append(batches, now_us() // 1000)
                break
            except StateUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        try:
            self._publisher.ring(appended.to_publish)
        except BrokerUnavailableError:
            return  # the journal has them: the sweep's turn

    def queued(self, shards: Iterable[int] = range(SHARDS)) -> int:
        """Messages that wait in these shards' queues."""
        lengths = self._peek.lengths(SHARDS)
        return sum(lengths[shard] for shard in shards)

    def journaled(self, shards: Iterable[int] = range(SHARDS)) -> int:
        """Batches of these shards that were accepted and not yet applied."""
        states = self._journal.states(SHARDS)
        return sum(states[shard].batches for shard in shards)

    def held(self) -> list[str]:
        """Tags of the batches that workers, dead ones too, took from the broker and did not acknowledge."""
        entries: Any = self.redis.hgetall("unacked")
        return [tag.decode() for tag, entry in entries.items() if orjson.loads(entry)[2].startswith("events.")]

    def redeliver(self) -> int:
        """Give back what workers hold, as the broker does once the visibility timeout is over."""
        tags = self.held()
        with self.app.connection_for_write() as connection, connection.channel() as opened:
            channel: Any = opened  # its stub leaves out the bookkeeping
            for tag in tags:
                channel.qos.restore_by_tag(tag)
        return len(tags)

    def applied(self, shards: Iterable[int]) -> int:
        """How many events workers have applied in these shards."""
        return sum(int(self.redis.hget(shard_keys(shard).counts, "applied") or 0) for shard in shards)

    def quiet(self) -> None:
        """Wait until nothing is on its way any more, what a dead worker or a lost connection left behind included."""
        wait_until(
            lambda: self.queued() == 0 and backlog(self.settings) == 0 and self.redeliver() == 0,
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
