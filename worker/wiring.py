"""The composition root: builds the workers' parts from the settings."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from time import monotonic

import structlog
from celery import Celery
from redis import Redis
from sqlalchemy import Engine

from config.settings import Settings
from models.database.attributes import AttributeStore
from models.database.connection import connect_database
from models.database.dead_letters.reader import DeadLetterReader
from models.database.flush.writer import FlushWriter
from models.database.partitions import EventPartitions
from models.database.progress import ProgressReader
from models.database.rules.publisher import Document, is_published
from models.errors import DatabaseUnavailableError
from models.failpoints import now_us
from models.rules.goals import Rulebook
from models.state.attributes import AttributeCache
from models.state.checks.memory import MemoryGauge, NewUsers
from models.state.clock import StateClock
from models.state.connection import connect_state
from models.state.event_log import ShardLog
from models.state.fleet.histories import ShardHistories
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.path_state import PathState
from models.state.metrics import Metrics
from models.state.progress.evictions import Evictions
from models.state.progress.records import Records
from models.state.queue.attempts import Tries
from models.state.queue.broker import Broker
from models.state.queue.journal import Journal, JournalBounds
from models.state.queue.undeliverable import PoisonList
from models.stores.user_attributes import UserAttributes
from tasks.apply.applier import BatchApplier
from tasks.apply.enrichment import Enricher
from tasks.apply.evaluator import DirtyLimit, Evaluator, Rules
from tasks.apply.reporter import Reporter
from tasks.apply.rerouting import Rerouter
from tasks.audit.audit import Auditor
from tasks.audit.correction import LogCorrector
from tasks.audit.published_rules import make_auditor
from tasks.broker.publisher import FlushRequests
from tasks.dead_letters.count import DepthKeeper
from tasks.dead_letters.undeliverable import PoisonDrain
from tasks.dead_letters.writer import DeadLetterWriter
from tasks.flush.eviction import Evictor, Marks
from tasks.flush.flusher import Flusher
from tasks.flush.reader import ShardChanges
from tasks.former_journal import FormerJournal
from tasks.histories.reset import ShardResetter
from tasks.histories.watch import HistoryWatch
from tasks.retries import Retries
from tasks.rules.publications import CurrentRules, PublicationsWatcher, open_file, reach_us, read_file
from tasks.rules.source import rule_source
from tasks.runtime import Runtime
from worker.early_flush import EarlyFlush

log = structlog.get_logger()


def read_challenges(settings: Settings) -> Document:
    """Read and parse the challenges file.

    Raises:
        ConfigurationError: the file cannot be read.
        InvalidChallengesError: it has faults, one line each.
    """
    return read_file(settings.challenges_file, settings.max_lateness, setting="CHALLENGES_FILE")


def own_challenges(settings: Settings) -> Document:
    """The challenges file of a process that starts; parsed only where it was never published, or PostgreSQL is away.

    Raises:
        ConfigurationError, InvalidChallengesError: as ``read_challenges``.
    """
    document = open_file(settings.challenges_file, settings.max_lateness, setting="CHALLENGES_FILE")
    engine = connect_database(settings.database_url, application="questline-rules", pool_size=1)
    try:
        with suppress(DatabaseUnavailableError):
            if is_published(engine, document):
                return document
    finally:
        engine.dispose()
    return read_challenges(settings)


def load_rulebook(settings: Settings) -> Rulebook:
    """The goals of the challenges file; raises what ``read_challenges`` raises."""
    return read_challenges(settings).rulebook


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
        self.tries = Tries(redis)
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
            tries=self.tries,
            patient_journal=self.retries.wrap(self.journal),
            patient_tries=self.retries.wrap(self.tries),
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


def build_runtime(settings: Settings, app: Celery, document: Document) -> Runtime:
    """What the tasks of one worker process work with; contacts no server."""
    engine = connect_database(settings.database_url, application="questline-worker")
    parts = WorkerParts(settings, connect_state(settings.state), engine, own_us=now_us)
    source = rule_source(settings, parts.redis, document, now_us)
    watcher = PublicationsWatcher(source)
    rules = CurrentRules(watcher, parts.retries, lateness_us=reach_us(settings))
    early_flush = EarlyFlush(settings, FlushRequests(app), parts.redis, parts.records)
    poison = parts.retries.wrap(PoisonList(connect_state(settings.broker)))
    runtime = Runtime(
        applier=parts.make_applier(parts.make_evaluator(rules, early_flush)),
        flusher=parts.retries.wrap(parts.make_flusher(parts.make_history_watch())),
        former_journal=FormerJournal(parts.journal, Broker(settings.broker), settings.shards, now_us),
        poison=PoisonDrain(poison, parts.dead_letter_writer, settings.shards),
        rules=source,
        partitions=parts.retries.wrap(EventPartitions(parts.engine, settings)),
        dead_letters=DepthKeeper(parts.redis, DeadLetterReader(parts.engine), now_us),
        metrics=parts.metrics,
        path=parts.path,
        watcher=watcher,
    )
    parts.metrics.start()
    watcher.start()
    # What is loaded now lives as long as the process: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    return runtime


def make_evictor(settings: Settings, redis: Redis, metrics: Metrics, marks: Marks) -> Evictor:
    """What takes clean records out of Redis from one mark to the other."""
    return Evictor(MemoryGauge(redis, settings.shards), Evictions(redis, settings.shards), metrics, marks)


def backlog(settings: Settings) -> int:
    """What is on its way to PostgreSQL: journaled batches, dirty users and log entries.

    Raises:
        StateUnavailableError: the state Redis did not answer.
    """
    redis = connect_state(settings.state, socket_timeout=2)
    try:
        record = InstallationCopy(redis).read()  # PostgreSQL may be away, and nothing waits for it here
        shards = settings.shards if record is None else int(record.values["SHARDS"])
        journal = sum(state.batches for state in make_journal(settings, redis).states(shards))
        records = make_records(settings, redis)
        logged = sum(ShardLog(redis).lengths(shards))
        return journal + sum(records.dirty_counts(shards)) + logged
    finally:
        redis.close()
