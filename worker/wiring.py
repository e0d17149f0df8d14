"""The composition root: builds the workers' parts from the settings."""

import gc
from contextlib import suppress
from datetime import timedelta

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
from tasks.apply.evaluator import Evaluator
from tasks.apply.reporter import Reporter
from tasks.apply.rerouting import Rerouter
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


class _Parts:
    """What the parts of a worker process share."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self.settings = settings
        self.redis = connect_state(settings.state)
        self.engine = connect_database(settings.database_url, application="questline-worker")
        self.metrics = Metrics(self.redis)
        self.records = make_records(settings, self.redis)
        self.writer = FlushWriter(self.engine, batch_size=settings.db_batch_size)
        self.journal = make_journal(settings, self.redis)
        self.path = PathState(self.redis, settings.max_lateness)
        self.tries = Tries(self.redis)
        self.flush_requests = FlushRequests(app)
        self.retries = Retries(self.metrics)
        self.dead_letter_writer = DeadLetterWriter(self.retries.wrap(self.writer), self.metrics)


def build_runtime(settings: Settings, app: Celery, document: Document) -> Runtime:
    """What the tasks of one worker process work with; contacts no server."""
    parts = _Parts(settings, app)
    source = rule_source(settings, parts.redis, document, now_us)
    watcher = PublicationsWatcher(source)
    watch = make_history_watch(settings, parts.redis, parts.engine, parts.metrics)
    runtime = Runtime(
        applier=_make_applier(parts, CurrentRules(watcher, parts.retries, lateness_us=reach_us(settings))),
        flusher=parts.retries.wrap(make_flusher(settings, parts.redis, parts.writer, watch, parts.metrics)),
        former_journal=FormerJournal(parts.journal, Broker(settings.broker), settings.shards, now_us),
        poison=PoisonDrain(
            parts.retries.wrap(PoisonList(connect_state(settings.broker))), parts.dead_letter_writer, settings.shards
        ),
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


def _make_applier(parts: _Parts, rules: CurrentRules) -> BatchApplier:
    return BatchApplier(
        evaluator=_make_evaluator(parts, rules),
        journal=parts.journal,
        tries=parts.tries,
        dead_letter_writer=parts.dead_letter_writer,
        retries=parts.retries,
        metrics=parts.metrics,
        now_us=now_us,
        path=parts.path,
        rerouter=Rerouter(parts.settings.shards, parts.journal, now_us),
        max_attempts=parts.settings.journal_max_attempts,
    )


def _make_evaluator(parts: _Parts, rules: CurrentRules) -> Evaluator:
    clock = StateClock(parts.redis)
    return Evaluator(
        rules=rules,
        enricher=Enricher(_retried(make_user_attributes(parts.settings, parts.redis, parts.engine), parts.retries)),
        records=parts.retries.wrap(parts.records),
        reader=parts.retries.wrap(ProgressReader(parts.engine, window=parts.settings.max_lateness)),
        reporter=Reporter(parts.metrics, clock),
        metrics=parts.metrics,
        dirty_limit=EarlyFlush(parts.settings, parts.flush_requests, parts.redis, parts.records),
        now_us=clock,
        new_users=NewUsers(parts.redis),
    )


def _retried(attributes: UserAttributes, retries: Retries) -> UserAttributes:
    """The same over stores that try again: not as a whole, for without PostgreSQL it would know no more each time."""
    return UserAttributes(retries.wrap(attributes.cache), retries.wrap(attributes.store), attributes.shards)


def make_flusher(
    settings: Settings, redis: Redis, writer: FlushWriter, watch: HistoryWatch, metrics: Metrics
) -> Flusher:
    """The flush, as the settings have it."""
    return Flusher(
        redis=redis,
        shards=settings.shards,
        batch_size=settings.db_batch_size,
        changes=ShardChanges(
            records=make_records(settings, redis),
            shard_log=ShardLog(redis),
            histories=watch.histories,
            users=settings.db_batch_size,
            window=settings.max_lateness,
            now_us=StateClock(redis),
        ),
        writer=writer,
        watch=watch,
        metrics=metrics,
        evictor=make_evictor(settings, redis, metrics, Marks()),
    )


def make_evictor(settings: Settings, redis: Redis, metrics: Metrics, marks: Marks) -> Evictor:
    """What takes clean records out of Redis from one mark to the other."""
    return Evictor(
        memory=MemoryGauge(redis, settings.shards),
        evictions=Evictions(redis, settings.shards),
        metrics=metrics,
        marks=marks,
    )


def make_history_watch(
    settings: Settings,
    redis: Redis,
    engine: Engine,
    metrics: Metrics,
) -> HistoryWatch:
    """What compares Redis with PostgreSQL, and resets shards."""
    histories = ShardHistories(redis, record_ttl=settings.record_ttl)
    patient = connect_database(
        settings.database_url, pool_size=2, application="questline-reset", statement_timeout=_RESET_PATIENCE
    )
    resetter = ShardResetter(
        engine=patient,
        histories=histories,
        records=make_records(settings, redis),
        shard_log=ShardLog(redis),
        corrector=LogCorrector(make_auditor(settings, patient)),
        shards=settings.shards,
        now_us=StateClock(redis),
    )
    return HistoryWatch(redis, engine, histories, resetter, metrics, settings.shards)


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
