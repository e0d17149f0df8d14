"""The composition root of the receiver."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version

import structlog
from fastapi import APIRouter
from redis import Redis
from sqlalchemy import Engine

from api.database_threads import DatabaseThreads
from api.dead_letters.redriver import Redriver
from api.dead_letters.routes import DeadLetterService, dead_letters_router
from api.health.checks import FLUSH_PATIENCE, make_backlog, receiver_checks
from api.health.path_probe import PathParts, PathProbe, fingerprint_of
from api.health.readiness import Check, ReadinessProbe
from api.metrics.collector import FleetCollector
from api.progress.routes import ProgressService
from config.settings import Settings
from ingest.group_commit import GroupCommitter
from ingest.memory_guard import MemoryGuard
from ingest.pipeline import IngestPipeline
from ingest.quotas import Quotas
from models.access.quotas import Quota
from models.database.connection import connect_database, with_access
from models.database.dead_letters.changes import DeadLetterChanges
from models.database.dead_letters.reader import DeadLetterReader
from models.database.fleet.probes import ProbeReader
from models.database.flush.refused_rows import RowRewriter
from models.database.progress import ProgressReader
from models.database.rules.publisher import Document
from models.errors import DatabaseUnavailableError, NotReadyError
from models.failpoints import now_us
from models.pollers import Poller
from models.state.clock import StateClock
from models.state.connection import connect_state
from models.state.fleet.path_state import PathState
from models.state.metrics import Metrics
from models.state.progress.memory_readings import StateReadings
from models.state.queue.attempts import Attempts
from models.state.queue.broker import Broker
from models.state.queue.journal import Journal
from models.state.quota_usage import DailyUsage
from models.stores.user_attributes import UserAttributes
from tasks.rules.publications import PublicationsWatcher
from tasks.rules.source import rule_source
from web.authentication.authenticator import ApiKeyAuthenticator
from web.authentication.key_poller import KeysWatcher
from worker.parts import make_journal, make_records, make_user_attributes
from worker.receiver.process import make_committer
from worker.receiver.quota_watch import QuotaWatch
from worker.receiver.shard_follower import Follower

DATABASE_READS, DEAD_LETTER_CALLS = 8, 4
"""How many reads of users that Redis lacks, and calls about dead letters, ask PostgreSQL at a time."""
STEP_SECONDS = 0.25
"""Between two looks at probes under way."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReceiverParts:
    """What the receiver process is made of."""

    follower: Follower
    """Takes another number of shards up."""
    committer: GroupCommitter
    metrics: Metrics
    watcher: PublicationsWatcher
    keys: KeysWatcher
    authenticator: ApiKeyAuthenticator
    quota_watch: QuotaWatch
    attributes: UserAttributes
    progress: ProgressService
    threads: DatabaseThreads
    """For reads that need PostgreSQL."""
    collector: FleetCollector
    readiness: ReadinessProbe
    probe: PathProbe
    probing: Poller
    """The thread that sends probes."""
    pipeline: IngestPipeline
    """Takes events, those too that are redriven."""
    dead_letters: APIRouter
    """The routes of dead letters."""


def make_receiver_parts(settings: Settings, document: Document) -> ReceiverParts:
    """The receiver's parts; contacts no server."""
    redis = connect_state(settings.state)
    # Each has connections of its own: what waits for PostgreSQL in one way must not keep other calls waiting. Reads of
    # single users take milliseconds, so soon it is certain that no answer comes.
    engine = _engine(settings, "questline-receiver", DATABASE_READS // 2, timedelta(seconds=3))
    dead_letters_engine = _engine(settings, "questline-receiver-letters", DEAD_LETTER_CALLS // 2, timedelta(seconds=10))
    watch_engine = _engine(settings, "questline-receiver-watch", 2, timedelta(seconds=5))
    journal = make_journal(settings, redis)
    records = make_records(settings, redis)
    watcher = PublicationsWatcher(rule_source(settings, redis, document, now_us))
    keys = KeysWatcher(watch_engine, redis)
    metrics = Metrics(redis)
    readings = StateReadings(redis, records, StateClock(redis), settings.shards)
    guard = MemoryGuard(journal, readings, settings.new_users_per_hour)
    committer = make_committer(settings, guard.append, metrics)
    quotas = Quotas(Quota(settings.quota_events, settings.quota_bytes), DailyUsage(redis), metrics, now_us)
    probe = _make_probe(settings, redis, journal)
    pipeline = IngestPipeline(committer, metrics, max_lateness=settings.max_lateness, gate=probe, quotas=quotas)
    own = {"commit": committer.check, "keys": lambda: _known(keys), "path": probe.require_applied}
    backlog = make_backlog(settings, records, now_us)
    needed, useful = receiver_checks(settings, watch_engine, own, backlog)
    useful = {**useful, "memory": guard.check}
    attributes = make_user_attributes(settings, redis, engine)
    progress = ProgressService(
        document=document,
        rules=watcher,
        records=records,
        reader=ProgressReader(with_access(engine, "read"), window=settings.max_lateness),
        attributes=attributes,
        shards=settings.shards,
        now_us=now_us,
    )
    collector = FleetCollector(redis, settings.shards, journal, records, Broker(settings.broker).ping, now_us)
    return ReceiverParts(
        follower=Follower(settings, journal, committer, backlog, probe, (progress, attributes, collector, readings)),
        committer=committer,
        metrics=metrics,
        watcher=watcher,
        keys=keys,
        authenticator=ApiKeyAuthenticator(keys, metrics, settings, now_us),
        quota_watch=QuotaWatch(quotas, watch_engine),
        attributes=attributes,
        progress=progress,
        collector=collector,
        readiness=ReadinessProbe(needed, {**useful, "flush": partial(_flushed, useful["flush"], probe)}),
        probe=probe,
        probing=_probing(probe),
        threads=DatabaseThreads(DATABASE_READS),
        pipeline=pipeline,
        dead_letters=make_dead_letters_router(dead_letters_engine, pipeline),
    )


def _make_probe(settings: Settings, redis: Redis, journal: Journal) -> PathProbe:
    # A connection of its own: a PostgreSQL that hangs must not keep those of others waiting by it.
    engine = connect_database(settings.database_url, application="questline-receiver-probe", pool_size=1)
    return PathProbe(
        PathParts(
            shards=settings.shards,
            journal=journal,
            attempts=Attempts(redis),
            path=PathState(redis, settings.max_lateness),
            rows=ProbeReader(engine),
            fingerprint=fingerprint_of(settings, version("questline")),
            now_us=now_us,
        )
    )


def _flushed(changes_flushed: Check, probe: PathProbe) -> None:
    changes_flushed()
    probe.require_flushed(FLUSH_PATIENCE)


def _probing(probe: PathProbe) -> Poller:
    return Poller(
        "path-probe",
        probe.step,
        STEP_SECONDS,
        failed=lambda error: log.debug("probe_failed", error=str(error)),
        broke=lambda error: log.error("probe_broke", exc_info=error),
    )


def make_dead_letters_router(engine: Engine, pipeline: IngestPipeline) -> APIRouter:
    """The routes of dead letters over the database, and ingest for what is redriven."""
    reader, changes = DeadLetterReader(engine), DeadLetterChanges(engine)
    threads = DatabaseThreads(DEAD_LETTER_CALLS, patience_s=10.0)
    redriver = Redriver(pipeline.reingest, reader, changes, RowRewriter(engine), threads)
    return dead_letters_router(DeadLetterService(reader, changes), redriver.redrive, threads)


def _engine(settings: Settings, application: str, pool_size: int, timeout: timedelta) -> Engine:
    url = settings.database_url
    return connect_database(url, application=application, pool_size=pool_size, statement_timeout=timeout)


def _known(keys: KeysWatcher) -> None:
    try:
        keys.check()
    except DatabaseUnavailableError as error:
        raise NotReadyError("not known, for PostgreSQL does not answer: nobody can be let in") from error
