"""The hot and cold path put together for tests, with a clock that tests move."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from redis import Redis
from sqlalchemy import Engine

from config.shards import shard_for
from models.database.attributes import AttributeStore
from models.database.flush.writer import FlushWriter
from models.database.progress import ProgressReader
from models.errors import DatabaseUnavailableError, JournalFullError
from models.events import Event, pack_batch
from models.rules.calendar import PERIOD_MARGIN_US, microseconds, microseconds_of
from models.rules.goals import Goal, Publications, Rulebook, only
from models.rules.matcher import Matcher
from models.rules.operators import make_rule, progress_of
from models.state.attributes import AttributeCache
from models.state.checks.memory import MemoryGauge, NewUsers
from models.state.event_log import ShardLog
from models.state.fleet.fences import Fences
from models.state.fleet.histories import ShardHistories
from models.state.fleet.path_state import PathState
from models.state.metrics import Metrics
from models.state.progress.evictions import Evictions
from models.state.progress.records import EvaluationLog, Records
from models.state.queue.attempts import Tries
from models.state.queue.batches import Batch
from models.state.queue.journal import Journal, JournalBounds
from models.stores.user_attributes import UserAttributes
from tasks.apply.applier import BatchApplier
from tasks.apply.enrichment import Enricher
from tasks.apply.evaluator import Evaluator
from tasks.apply.pace import MOST, Pace
from tasks.apply.reporter import Reporter
from tasks.apply.rerouting import Rerouter
from tasks.audit.audit import Auditor
from tasks.audit.correction import LogCorrector
from tasks.audit.replay import RecallingMatcher
from tasks.dead_letters.writer import DeadLetterWriter
from tasks.flush.eviction import Evictor
from tasks.flush.flusher import Flusher
from tasks.flush.reader import ShardChanges
from tasks.histories.reset import ShardResetter
from tasks.histories.watch import HistoryWatch
from tasks.redelivery import Sweeper
from tasks.retries import Retries

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
    published: list[Batch] = field(default_factory=list)
    queued: int = 0
    slept: list[float] = field(default_factory=list)
    """The waits before repetitions, none of them waited."""
    woken: list[int] = field(default_factory=list)
    """The shards that a reset brought workers to."""
    rung: list[Batch] = field(default_factory=list)
    """The batches of the last ``accept`` that need a message."""

    def __post_init__(self) -> None:
        self._matcher: Matcher | None = None
        self.metrics = Metrics(self.redis)
        self.records = Records(
            self.redis, window=self.window, record_ttl=timedelta(hours=1), evaluation_log=self.evaluation_log
        )
        self.journal = Journal(
            self.redis,
            shards=self.shards,
            bounds=JournalBounds(self.max_bytes, self.max_age, self.max_dirty_users, self.replicas),
            retry_after=timedelta(seconds=10),
            chance=lambda: 0.0,
        )
        self.tries = Tries(self.redis)
        self.path = PathState(self.redis, self.window)
        self.retries = Retries(self.metrics, self.slept.append)
        self.reader = ProgressReader(self.engine, window=self.window)
        self.writer = FlushWriter(self.engine, batch_size=self.batch_size)
        self.shard_log = ShardLog(self.redis)
        self.dead_letter_writer = DeadLetterWriter(self.retries.wrap(self.writer), self.metrics)
        self.evaluator = Evaluator(
            rules=self,
            enricher=Enricher(self.attributes()),
            records=self.retries.wrap(self.records),
            reader=self.retries.wrap(self.reader),
            reporter=Reporter(self.metrics, self.clock),
            metrics=self.metrics,
            dirty_limit=_NoLimit(),
            now_us=self.clock,
            new_users=NewUsers(self.redis),
        )
        self.applier = BatchApplier(
            self.evaluator,
            self.journal,
            self.tries,
            self.dead_letter_writer,
            self.published.extend,
            self.retries,
            self.metrics,
            self.clock,
            self.path,
            Rerouter(self.shards, self.journal, self.published.extend, self.clock),
            clock=lambda: 0.0,
            pace=Pace(MOST),
        )
        self.histories = ShardHistories(self.redis, record_ttl=timedelta(hours=1))
        auditor = Auditor(self.engine, lambda: RecallingMatcher(self.publications(), lateness_us=self.lateness_us()))
        self.resetter = ShardResetter(
            self.engine,
            self.histories,
            self.records,
            self.shard_log,
            LogCorrector(auditor),
            self.wake,
            self.shards,
            self.clock,
        )
        self.watch = HistoryWatch(self.redis, self.engine, self.histories, self.resetter, self.metrics, self.shards)
        changes = ShardChanges(self.records, self.shard_log, self.histories, self.batch_size, self.window, self.clock)
        self.flusher = Flusher(
            redis=self.redis,
            shards=self.shards,
            batch_size=self.batch_size,
            changes=changes,
            writer=self.writer,
            watch=self.watch,
            metrics=self.metrics,
            evictor=Evictor(MemoryGauge(self.redis, self.shards), Evictions(self.redis, self.shards), self.metrics),
        )
        self.sweeper = Sweeper(
            self.shards,
            self.max_attempts,
            self.journal,
            self.tries,
            self.dead_letter_writer,
            lambda shards: [self.queued] * shards,
            self.published.extend,
            self.retries,
            self.metrics,
            self.clock,
        )
        self.catch_up(None)

    def attributes(self) -> UserAttributes:
        """Users' attributes, as the stack's workers see them."""
        return UserAttributes(
            AttributeCache(self.redis, ttl=timedelta(hours=1)), AttributeStore(self.engine), self.shards
        )

    def knows(self, _revision: int | None) -> bool:
        """Another thread learns of no publication."""
        return False

    def catch_up(self, _revision: int | None) -> None:
        """Put the fences to the stack's rules, as PostgreSQL would have them."""
        fences = Fences(self.redis, self.shards)
        fences.align(fences.read(), self.matcher().publications.known_revision)

    def wake(self, shard: int) -> None:
        """A worker takes what is ready in a shard that was reset, at once."""
        self.woken.append(shard)
        batch = self.journal.next_ready(shard)
        if batch is not None:
            self.apply(batch)

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
        """Journal events without applying them."""
        batches = self.batches(*events)
        appended = self.journal.append(batches, self.clock() // 1000)
        self.rung = appended.to_publish
        if appended.full:
            raise JournalFullError(appended.full)
        return batches

    def apply(self, *batches: Batch) -> None:
        for batch in batches:
            self.applier.work(batch.shard, batch.batch_id, batch.packed)

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
