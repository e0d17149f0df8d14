"""The composition root of the receiver process: its parts, built from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from celery import Celery
from redis import Redis
from sqlalchemy import Engine

from api.health import Check
from api.metrics import FleetCollector
from api.progress import ProgressService
from config.settings import Settings
from models.cold.connection import connect_database, database_errors
from models.cold.reading import ProgressReader
from models.cold.rule_versions import publish
from models.hot.connection import connect_state, state_errors
from models.hot.journal import Journal
from models.hot.meters import Meters
from models.hot.records import Records
from models.rules.goals import Rulebook
from worker.broker import BatchPublisher, QueuePeek
from worker.wiring import make_journal, now_us, once


@dataclass(frozen=True, slots=True)
class ReceiverParts:
    """What the receiver process is made of."""

    journal: Journal
    publisher: BatchPublisher
    meters: Meters
    progress: ProgressService
    collector: FleetCollector
    needed: Mapping[str, Check]
    useful: Mapping[str, Check]


def make_receiver_parts(settings: Settings, app: Celery, rulebook: Rulebook) -> ReceiverParts:
    """The receiver's parts; contacts no server."""
    redis = connect_state(settings.state)
    engine = connect_database(settings.database_url, application="questline-receiver", pool_size=4)
    peek = QueuePeek(settings.broker)
    journal = make_journal(settings, redis)
    records = Records(redis, window=settings.max_lateness, record_ttl=settings.record_ttl)
    return ReceiverParts(
        journal=journal,
        publisher=BatchPublisher(app),
        meters=Meters(redis),
        progress=ProgressService(
            rulebook=rulebook,
            versions=once(lambda: publish(engine, rulebook)),
            records=records,
            reader=ProgressReader(engine, window=settings.max_lateness),
            shards=settings.shards,
            now_us=now_us,
        ),
        collector=FleetCollector(redis, settings.shards, journal, records, peek.lengths, now_us),
        needed={"state": lambda: _ping(redis)},
        useful={"broker": peek.ping, "database": lambda: _ask(engine)},
    )


def _ping(redis: Redis) -> None:
    with state_errors():
        redis.ping()


def _ask(engine: Engine) -> None:
    with database_errors(), engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
