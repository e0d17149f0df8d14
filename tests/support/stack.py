"""The hot and cold path put together for tests, with a clock that tests move."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from redis import Redis
from sqlalchemy import Engine

from config.settings import Settings
from config.shards import shard_for
from models.errors import DatabaseUnavailableError, JournalFullError
from models.events import Event, pack_batch
from models.fleet.histories import Standing
from models.rules.calendar import PERIOD_MARGIN_US, microseconds, microseconds_of
from models.rules.goals import Goal, Publications, Rulebook, only
from models.rules.matcher import Matcher
from models.rules.operators import make_rule, progress_of
from models.state.fleet.fences import Fences
from models.state.keys import stream_keys
from models.state.progress.records import EvaluationLog
from models.state.queue.batches import Batch, TakenBatch
from models.state.queue.journal import FAIR_STREAMS, GROUP, make_groups
from tasks.apply.applier import ShardWork
from tasks.audit.audit import Auditor
from tasks.audit.replay import RecallingMatcher
from tasks.broker.streams import StreamReader
from tasks.histories.reset import ResetReport, ShardResetter
from worker.parts import WorkerParts

WINDOW = timedelta(days=7)
SHARDS = 4
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def goal(goal_id, op, events=(), *, challenge="c", target=1, prerequisites=(), segments=None, on_change="keep", **rule):
    """A goal in one line; what is not named here belongs to its rule."""
    events = (events,) if isinstance(events, str) else tuple(events)
    return Goal(
        goal_id=goal_id,
        challenge_id=challenge,
        name=goal_id,
        rule=make_rule(op=op, events=events, target=target, **rule),
        prerequisites=tuple(prerequisites),
        segments=segments or {},
        on_change=on_change,
    )


GOALS = Rulebook(
    (
        goal("daily-login", "count", "login", challenge="dailies", per="day", stops_at_target=True),
        goal("logins", "count", "login", challenge="dailies", target=3),
        goal("minutes", "sum", "workout", challenge="fitness", target=60),
        goal("level", "latest", "statistic:level", challenge="game", target=10),
    )
)


@dataclass
class Clock:
    """A clock in microseconds that only moves when told."""

    now: int = microseconds(NOON)

    def __call__(self) -> int:
        return self.now

    def advance(self, **length: float) -> None:
        self.now += int(timedelta(**length) / timedelta(microseconds=1))


@dataclass(frozen=True)
class FixedRules:
    """Rules that a process knows, or, without any, that nobody can tell it."""

    rulebook: Rulebook | None

    def known(self) -> Publications | None:
        return None if self.rulebook is None else only(self.rulebook)

    def current(self) -> Publications:
        if self.rulebook is None:
            raise DatabaseUnavailableError("away")
        return only(self.rulebook)


class _NoLimit:
    """Starts no early flush."""

    def note(self, dirty_in_shard: int) -> None:
        pass


class _ThenWork:
    """Resets shards, after which workers take what went back to their queues."""

    def __init__(self, resetter: ShardResetter, work: Callable[[], None]) -> None:
        self._resetter, self._work = resetter, work

    def reset(self, shards: Sequence[int], standings: set[Standing]) -> ResetReport:
        report = self._resetter.reset(shards, standings)
        if report.shards:
            self._work()
        return report


@dataclass
class Stack:
    """One installation without processes: events in by ``post``, rows out of PostgreSQL by ``rows``."""

    redis: Redis
    engine: Engine
    rulebook: Rulebook | Publications = GOALS
    evaluation_log: EvaluationLog = "transitions"
    window: timedelta = WINDOW
    clock: Clock = field(default_factory=Clock)
    batch_size: int = 1000
    max_bytes: int = 64 << 20
    max_age: timedelta = timedelta(hours=12)
    max_dirty_users: int = 1_000_000
    max_attempts: int = 3
    replicas: int = 0
    shards: int = SHARDS
    slept: list[float] = field(default_factory=list)
    """The waits before repetitions, none of them waited."""

    def __post_init__(self) -> None:
        self._matcher: Matcher | None = None
        parts = self.parts = WorkerParts(
            self._settings(),
            self.redis,
            self.engine,
            own_us=self.clock,
            fleet_us=self.clock,
            sleep=self.slept.append,
        )
        self.metrics, self.retries, self.path = parts.metrics, parts.retries, parts.path
        self.records, self.reader, self.writer = parts.records, parts.reader, parts.writer
        self.journal, self.attempts, self.shard_log = parts.journal, parts.attempts, parts.shard_log
        self.histories, self.dead_letter_writer = parts.histories, parts.dead_letter_writer
        self.evaluator = parts.make_evaluator(self, _NoLimit())
        self.applier = parts.make_applier(self.evaluator, clock=lambda: 0.0)
        auditor = Auditor(self.engine, lambda: RecallingMatcher(self.publications(), lateness_us=self.lateness_us()))
        resetter = parts.make_resetter(self.engine, auditor)
        self.resetter = cast("ShardResetter", _ThenWork(resetter, self.catch_up_work))
        self.watch = parts.make_history_watch(self.resetter)
        self.flusher = parts.make_flusher(self.watch)
        self.catch_up(None)

    def _settings(self) -> Settings:
        """The settings that the fields name; smaller bounds than an installation may have pass, too."""
        named = {
            "shards": self.shards,
            "max_lateness": self.window,
            "record_ttl": timedelta(hours=1),
            "evaluation_log": self.evaluation_log,
            "db_batch_size": self.batch_size,
            "dirty_max_users": self.max_dirty_users,
            "journal_max_bytes": self.max_bytes,
            "journal_max_age": self.max_age,
            "journal_retry_after": timedelta(seconds=10),
            "journal_max_attempts": self.max_attempts,
            "journal_replicas": self.replicas,
        }
        return Settings().model_copy(update=named)

    def knows(self, _revision: int | None) -> bool:
        """Another thread learns of no publication."""
        return False

    def catch_up(self, _revision: int | None) -> None:
        """Put the fences to the stack's rules, as PostgreSQL would have them."""
        fences = Fences(self.redis, self.shards)
        fences.align(fences.read(), self.matcher().publications.known_revision)

    def publications(self) -> Publications:
        return self.rulebook if isinstance(self.rulebook, Publications) else only(self.rulebook)

    def lateness_us(self) -> int:
        return microseconds_of(self.window) + PERIOD_MARGIN_US

    def matcher(self) -> Matcher:
        """The rules of the stack, compiled."""
        rules = self.publications()
        if self._matcher is None or self._matcher.publications != rules:
            self._matcher = Matcher(rules, lateness_us=self.lateness_us())
        return self._matcher

    def event(
        self,
        event_type="login",
        user="u1",
        *,
        event_id=None,
        at=None,
        value=None,
        increment=None,
        tenant="t1",
        payload=b"",
        timezone=None,
        attributes=b"",
    ) -> Event:
        occurred = self.clock() if at is None else microseconds(at)
        return Event(
            event_id or uuid4().hex,
            event_type,
            tenant,
            user,
            occurred,
            self.clock(),
            value,
            increment,
            "test",
            payload,
            timezone,
            attributes,
        )

    def batches(self, *events: Event) -> list[Batch]:
        """The events cut by shard, as the receiver would."""
        by_shard: dict[int, list[Event]] = {}
        for event in events:
            by_shard.setdefault(shard_for(event.tenant_id, event.user_id, self.shards), []).append(event)
        return [Batch(shard, uuid4().hex, pack_batch(part)) for shard, part in by_shard.items()]

    def accept(self, *events: Event) -> list[Batch]:
        """Journal events without applying them; the batches by the names of their entries."""
        appended = self.journal.append(self.batches(*events), self.clock() // 1000)
        if appended.full:
            raise JournalFullError(appended.full)
        return appended.accepted

    def apply(self, *batches: Batch, deliveries: int = 1) -> None:
        """Apply batches, each in a message of its own, as a worker that was given them so often."""
        if batches:
            self.take(*{batch.shard for batch in batches})
        for batch in batches:
            self.work({batch.shard: [TakenBatch(batch.batch_id, batch.packed, deliveries)]})

    def work(self, shards: Mapping[int, Sequence[TakenBatch]]) -> None:
        """Apply what a message brings."""
        self.applier.work([ShardWork(*work) for work in shards.items()])

    def take(self, *shards: int, count: int = 1000) -> dict[int, list[TakenBatch]]:
        """What a worker is given next, as many entries of each stream; of all shards, where none is named."""
        streams = {key: shard for shard in shards or range(self.shards) for key in stream_keys(shard)[:FAIR_STREAMS]}
        make_groups(self.redis, streams)
        found: Any = self.redis.xreadgroup(GROUP, GROUP, dict.fromkeys(streams, ">"), count=count)
        taken: dict[int, list[TakenBatch]] = {}
        for key, entries in found:
            number = key.decode().rpartition(":")[2]
            batches = [TakenBatch(f"{number}:{name.decode()}", fields[b"b"]) for name, fields in entries]
            taken.setdefault(streams[key.decode()], []).extend(batches)
        return taken

    def catch_up_work(self) -> None:
        """Take and apply all that no worker was given yet."""
        while taken := self.take():
            self.work(taken)

    def returned(self, *, overdue: bool = True) -> list[dict[int, list[TakenBatch]]]:
        """What workers are given again, by message: all that is pending, or only what is due by the server's clock."""
        if overdue:
            for shard in range(self.shards):
                self.wait(shard, timedelta(hours=1))
        reader = StreamReader(self.journal, self.redis)
        reader.claim(range(self.shards))
        return [work.shards for work in reader.claims]

    def wait(self, shard: int, length: timedelta) -> None:
        """Let it be so long ago that workers were given what is pending in a shard."""
        for stream in stream_keys(shard):
            if self.redis.exists(stream):
                make_groups(self.redis, [stream])
                rows: Any = self.redis.xpending_range(stream, GROUP, "-", "+", 1000)
                ids = [row["message_id"] for row in rows]
                if ids:
                    idle = length // timedelta(milliseconds=1)
                    self.redis.xclaim(stream, GROUP, GROUP, 0, ids, idle=idle, justid=True)

    def try_again(self) -> None:
        """Apply what workers are given again, message by message."""
        for shards in self.returned():
            self.work(shards)

    def post(self, *events: Event) -> None:
        """Accept and apply."""
        self.apply(*self.accept(*events))

    def progress(self, user="u1", tenant="t1") -> dict[tuple[str, str], Any]:
        """What Redis shows: (goal, period) to (progress, complete)."""
        rows = self.records.read(shard_for(tenant, user, self.shards), tenant, user)
        return {(row.goal_id, row.period): (progress_of(row), row.completed_at > 0) for row in rows or []}

    def rows(self, user="u1", tenant="t1") -> dict[tuple[str, str], Any]:
        """What PostgreSQL has: (goal, period) to (progress, complete)."""
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT * FROM user_goal_progress WHERE tenant_id = %s AND user_id = %s", (tenant, user)
            ).all()
        return {(row.goal_id, row.period): (row.progress, row.status == "completed") for row in found}

    def count(self, table: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())
