"""The composition root: builds the workers' parts from the settings."""

import gc
from contextlib import suppress

from celery import Celery

from config.settings import Settings
from models.database.connection import connect_database
from models.database.dead_letters.reader import DeadLetterReader
from models.database.partitions import EventPartitions
from models.database.rules.publisher import Document, is_published
from models.errors import DatabaseUnavailableError
from models.failpoints import now_us
from models.rules.goals import Rulebook
from models.state.connection import connect_state
from models.state.event_log import ShardLog
from models.state.fleet.installation import InstallationCopy
from models.state.queue.broker import Broker
from models.state.queue.undeliverable import UndeliverableMessages
from tasks.broker.publisher import FlushRequests
from tasks.dead_letters.count import DepthKeeper
from tasks.dead_letters.undeliverable import UndeliverableDrain
from tasks.former_journal import FormerJournal
from tasks.rules.publications import CurrentRules, PublicationsWatcher, open_file, reach_us, read_file
from tasks.rules.source import rule_source
from tasks.runtime import Runtime
from worker.early_flush import EarlyFlush
from worker.parts import WorkerParts, make_journal, make_records


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


def build_runtime(settings: Settings, app: Celery, document: Document) -> Runtime:
    """What the tasks of one worker process work with; contacts no server."""
    engine = connect_database(settings.database_url, application="questline-worker")
    parts = WorkerParts(settings, connect_state(settings.state), engine, own_us=now_us)
    source = rule_source(settings, parts.redis, document, now_us)
    watcher = PublicationsWatcher(source)
    rules = CurrentRules(watcher, parts.retries, lateness_us=reach_us(settings))
    early_flush = EarlyFlush(settings, FlushRequests(app), parts.redis, parts.records)
    undeliverable = parts.retries.wrap(UndeliverableMessages(connect_state(settings.broker)))
    runtime = Runtime(
        applier=parts.make_applier(parts.make_evaluator(rules, early_flush)),
        flusher=parts.retries.wrap(parts.make_flusher(parts.make_history_watch())),
        former_journal=FormerJournal(parts.journal, Broker(settings.broker), settings.shards, now_us),
        undeliverable=UndeliverableDrain(undeliverable, parts.dead_letter_writer, settings.shards),
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
