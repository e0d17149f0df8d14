"""A whole installation as a test sees it: the receiver's way in, PostgreSQL's way out, and what must come of it."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import orjson
from redis import Redis
from sqlalchemy import Engine, make_url

from config.settings import Settings
from config.shards import shard_for
from models.cold.connection import connect_database
from models.errors import BrokerUnavailableError, StateUnavailableError
from models.events import Event, pack_batch
from models.hot.connection import connect_state
from models.hot.journal import Batch
from models.rules.operators import progress_of
from models.rules.reference import apply_all
from tests.servers import wait_until
from worker.broker import BatchPublisher, QueuePeek
from worker.celery_app import make_app
from worker.wiring import backlog, load_rulebook, make_journal, now_us

SHARDS = 4
LOW, HIGH = range(2), range(2, SHARDS)
"""The shards of the cluster's two shard workers."""

_KINDS = ("login", "workout.logged", "quiz.scored", "statistic:headshots")

Rows = dict[tuple[str, str, str], tuple[Any, bool]]
"""(user, goal, period) to (progress, completed)."""


def environment_of(redis_url: str, database_url: str, data: Path | None = None, **settings: str) -> dict[str, str]:
    """The settings of every process of an installation, with waits short enough for tests."""
    database = make_url(database_url)
    told = {
        "STATE_URL": redis_url,
        "BROKER_URL": redis_url,
        "DB_HOST": database.host,
        "DB_PORT": str(database.port),
        "DB_NAME": database.database,
        "DB_USER": database.username,
        "DB_PASSWORD": database.password,
        "QUESTLINE_DATA_DIR": data and str(data),
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
        self.redis: Redis[bytes] = connect_state(self.settings.state)
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
                self._journal.append(batches, now_us() // 1000)
                break
            except StateUnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        try:
            self._publisher.publish(batches)
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
        entries: Mapping[bytes, bytes] = self.redis.hgetall("unacked")
        return [tag.decode() for tag, entry in entries.items() if orjson.loads(entry)[2].startswith("events.")]

    def redeliver(self) -> int:
        """Give back what workers hold, as the broker does once the visibility timeout is over."""
        tags = self.held()
        with self.app.connection_for_write() as connection, connection.channel() as channel:
            for tag in tags:
                channel.qos.restore_by_tag(tag)
        return len(tags)

    def quiet(self) -> None:
        """Wait until nothing is on its way any more, what a dead worker or a lost connection left behind included."""
        wait_until(
            lambda: self.queued() == 0 and backlog(self.settings) == 0 and self.redeliver() == 0,
            seconds=40,
            message=lambda: f"queued {self.queued()}, held {self.held()}, backlog {backlog(self.settings)}",
        )

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of PostgreSQL."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement, values)]


@dataclass
class Crowd:
    """Users of one tenant of its own, their events, and what these must amount to."""

    installation: Installation
    tenant: str
    users: int
    random: Random

    def __post_init__(self) -> None:
        self.events: list[Event] = []

    @classmethod
    def of(cls, installation: Installation, users: int = 40) -> "Crowd":
        return cls(installation, f"t{uuid4().hex}", users, Random(7))

    def batches(self, events: int, *, shards: Iterable[int] = range(SHARDS), size: int = 25) -> list[Batch]:
        """New events of users of these shards, cut into batches of at most ``size``; one in ten events comes twice."""
        by_shard: dict[int, list[Event]] = {shard: [] for shard in shards}
        made = 0
        while made < events:
            event = self._event()
            part = by_shard.get(shard_for(self.tenant, event.user_id, SHARDS))
            if part is None:
                continue
            part += [event] * self.random.choices((1, 2), (9, 1))[0]
            self.events.append(event)
            made += 1
        cut = [
            Batch(shard, uuid4().hex, pack_batch(part[at : at + size]), len(part[at : at + size]))
            for shard, part in by_shard.items()
            for at in range(0, len(part), size)
        ]
        self.random.shuffle(cut)
        return cut

    def _event(self) -> Event:
        now = now_us()
        return Event(
            event_id=uuid4().hex,
            event_type=self.random.choice(_KINDS),
            tenant_id=self.tenant,
            user_id=f"user:{self.random.randrange(self.users)}",
            occurred_at=now - self.random.randrange(3600 * 10**6),
            accepted_at=now,
            value=float(self.random.randrange(1, 100)),
        )

    def send(self, events: int, *, shards: Iterable[int] = range(SHARDS)) -> None:
        """Have new events accepted."""
        self.installation.accept(self.batches(events, shards=shards))

    def expected(self) -> Rows:
        """What the reference engine makes of the events."""
        by_user: dict[str, list[Event]] = {}
        for event in self.events:
            by_user.setdefault(event.user_id, []).append(event)
        return {
            (user, goal, period): (progress_of(row), row.completed_at > 0)
            for user, events in by_user.items()
            for (goal, period), row in apply_all(self.installation.rulebook, events).items()
        }

    def rows(self) -> Rows:
        """What PostgreSQL has."""
        found = self.installation.query(
            "SELECT user_id, goal_id, period, progress, status FROM user_goal_progress WHERE tenant_id = %s", self.tenant
        )
        return {(user, goal, period): (progress, status == "completed") for user, goal, period, progress, status in found}

    def logged(self) -> list[str]:
        """The ids in PostgreSQL's log of events."""
        found = self.installation.query("SELECT event_id FROM events WHERE tenant_id = %s", self.tenant)
        return [event_id for (event_id,) in found]

    def assert_exact(self) -> None:
        """Every event counted, none twice: in progress, in the log of events and in the unlocks."""
        self.installation.quiet()
        expected = self.expected()
        assert self.rows() == expected
        assert sorted(self.logged()) == sorted(event.event_id for event in self.events)
        unlocks = self.installation.query("SELECT user_id, goal_id, period FROM unlocks WHERE tenant_id = %s", self.tenant)
        assert set(unlocks) == {key for key, (_progress, completed) in expected.items() if completed}
        assert self.installation.query("SELECT * FROM dead_letters WHERE tenant_id = %s", self.tenant) == []


def in_parts(batches: Sequence[Batch], size: int) -> Iterator[Sequence[Batch]]:
    """The batches in the portions of a receiver's group commits."""
    return (batches[at : at + size] for at in range(0, len(batches), size))
