"""The stores and plain objects of a worker process, made from the settings and from each other."""

import time
from collections.abc import Callable
from datetime import timedelta
from time import monotonic

from redis import Redis
from sqlalchemy import Engine

from config.settings import Settings
from models.database.attributes import AttributeStore
from models.database.connection import connect_database
from models.database.flush.writer import FlushWriter
from models.database.progress import ProgressReader
from models.failpoints import now_us
from models.state.attributes import AttributeCache
from models.state.checks.memory import MemoryGauge, NewUsers
from models.state.clock import StateClock
from models.state.event_log import ShardLog
from models.state.fleet.histories import ShardHistories
from models.state.fleet.path_state import PathState
from models.state.metrics import Metrics
from models.state.progress.evictions import Evictions
from models.state.progress.records import Records
from models.state.queue.attempts import Attempts
from models.state.queue.journal import Journal, JournalBounds
from models.stores.user_attributes import UserAttributes
from tasks.apply.applier import BatchApplier
from tasks.apply.enrichment import Enricher
from tasks.apply.evaluator import DirtyLimit, Evaluator, Rules
from tasks.apply.reporter import Reporter
from tasks.apply.rerouting import Rerouter
from tasks.audit.audit import Auditor
from tasks.audit.correction import LogCorrector
from tasks.audit.published_rules import make_auditor
from tasks.dead_letters.writer import DeadLetterWriter
from tasks.flush.eviction import Evictor, Marks
from tasks.flush.flusher import Flusher
from tasks.flush.reader import ShardChanges
from tasks.histories.reset import ShardResetter
from tasks.histories.watch import HistoryWatch
from tasks.retries import Retries

_RESET_PATIENCE = timedelta(minutes=10)
"""For the one look at all rows of progress that a reset takes."""


def make_journal(settings: Settings, redis: Redis) -> Journal:
    """The journal within the bounds of the settings."""
    bounds = JournalBounds(
        settings.journal_max_bytes,
        settings.journal_max_age,
        settings.dirty_max_users,
        settings.journal_replicas,
    )
    return Journal(redis, shards=settings.shards, bounds=bounds, retry_after=settings.journal_retry_after)


def make_records(settings: Settings, redis: Redis) -> Records:
    """The users' records, as the settings have them."""
    return Records(
        redis,
        window=settings.max_lateness,
        record_ttl=settings.record_ttl,
        evaluation_log=settings.evaluation_log,
    )


def make_user_attributes(settings: Settings, redis: Redis, engine: Engine) -> UserAttributes:
    """Users' attributes in Redis and PostgreSQL."""
    return UserAttributes(AttributeCache(redis, ttl=settings.record_ttl), AttributeStore(engine), settings.shards)


def make_evictor(settings: Settings, redis: Redis, metrics: Metrics, marks: Marks) -> Evictor:
    """What takes clean records out of Redis from one mark to the other."""
    return Evictor(MemoryGauge(redis, settings.shards), Evictions(redis, settings.shards), metrics, marks)


class WorkerParts:
    """What the parts of a worker process share, and how these are made of it.

    Tests hand in clocks and waits of their own: ``own_us`` is the clock of the process, ``fleet_us`` that of the state
    Redis.
    """

    def __init__(  # noqa: PLR0913 - each of them by name
        self,
        settings: Settings,
        redis: Redis,
        engine: Engine,
        *,
        own_us: Callable[[], int] = now_us,
        fleet_us: Callable[[], int] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings, self.redis, self.engine = settings, redis, engine
        self.own_us, self.fleet_us = own_us, fleet_us or StateClock(redis)
        self.metrics = Metrics(redis)
        self.retries = Retries(self.metrics, sleep)
        self.records = make_records(settings, redis)
        self.reader = ProgressReader(engine, window=settings.max_lateness)
        self.writer = FlushWriter(engine, batch_size=settings.db_batch_size)
        self.journal = make_journal(settings, redis)
        self.shard_log = ShardLog(redis)
        self.histories = ShardHistories(redis, record_ttl=settings.record_ttl)
        self.path = PathState(redis, settings.max_lateness)
        self.attempts = Attempts(redis)
        self.dead_letter_writer = DeadLetterWriter(self.retries.wrap(self.writer), self.metrics)

    def make_evaluator(self, rules: Rules, dirty_limit: DirtyLimit) -> Evaluator:
        """What applies events by these rules."""
        attributes = make_user_attributes(self.settings, self.redis, self.engine)
        # Each store by itself tries again: as a whole they would know no more while PostgreSQL is away.
        patient = UserAttributes(
            self.retries.wrap(attributes.cache), self.retries.wrap(attributes.store), self.settings.shards
        )
        return Evaluator(
            rules=rules,
            enricher=Enricher(patient),
            records=self.retries.wrap(self.records),
            reader=self.retries.wrap(self.reader),
            reporter=Reporter(self.metrics, self.fleet_us),
            metrics=self.metrics,
            dirty_limit=dirty_limit,
            now_us=self.fleet_us,
            new_users=NewUsers(self.redis),
        )

    def make_applier(self, evaluator: Evaluator, *, clock: Callable[[], float] = monotonic) -> BatchApplier:
        """What applies the batches of the queues; ``clock`` gives seconds."""
        return BatchApplier(
            evaluator=evaluator,
            journal=self.journal,
            attempts=self.attempts,
            patient_journal=self.retries.wrap(self.journal),
            patient_attempts=self.retries.wrap(self.attempts),
            dead_letter_writer=self.dead_letter_writer,
            metrics=self.metrics,
            now_us=self.own_us,
            path=self.path,
            rerouter=Rerouter(self.settings.shards, self.journal, self.own_us),
            max_attempts=self.settings.journal_max_attempts,
            clock=clock,
        )

    def make_resetter(self, engine: Engine, auditor: Auditor) -> ShardResetter:
        """What resets shards, over an engine that waits long."""
        return ShardResetter(
            engine=engine,
            histories=self.histories,
            records=self.records,
            shard_log=self.shard_log,
            corrector=LogCorrector(auditor),
            shards=self.settings.shards,
            now_us=self.fleet_us,
        )

    def make_history_watch(self, resetter: ShardResetter | None = None) -> HistoryWatch:
        """What compares Redis with PostgreSQL, and resets shards."""
        if resetter is None:
            patient = connect_database(
                self.settings.database_url,
                pool_size=2,
                application="questline-reset",
                statement_timeout=_RESET_PATIENCE,
            )
            resetter = self.make_resetter(patient, make_auditor(self.settings, patient))
        return HistoryWatch(self.redis, self.engine, self.histories, resetter, self.metrics, self.settings.shards)

    def make_flusher(self, watch: HistoryWatch) -> Flusher:
        """The flush, as the settings have it."""
        settings = self.settings
        return Flusher(
            redis=self.redis,
            shards=settings.shards,
            batch_size=settings.db_batch_size,
            changes=ShardChanges(
                records=self.records,
                shard_log=self.shard_log,
                histories=self.histories,
                users=settings.db_batch_size,
                window=settings.max_lateness,
                now_us=self.fleet_us,
            ),
            writer=self.writer,
            watch=watch,
            metrics=self.metrics,
            evictor=make_evictor(settings, self.redis, self.metrics, Marks()),
        )
