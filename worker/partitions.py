"""The partitions of PostgreSQL's event log as the settings want them: made ahead, dropped when too old."""

from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Engine

from config.settings import Settings
from models.database.partitions import EVALUATIONS, days_around, drop_partition, ensure_partitions, partitions_before

log = structlog.get_logger()


def prepare_database(engine: Engine, settings: Settings) -> None:
    """Make the partitions for every day that events may be accepted for, and evaluated on.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    now = datetime.now(UTC)
    ensure_partitions(engine, days_around(now, settings.max_lateness))
    ensure_partitions(engine, days_around(now, timedelta()), EVALUATIONS)


def drop_old_partitions(engine: Engine, settings: Settings) -> None:
    """Drop what is older than ``EVENT_RETENTION``, one partition at a time.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    if settings.event_retention is None:
        return
    for name in partitions_before(engine, datetime.now(UTC) - settings.event_retention):
        drop_partition(engine, name)
        log.info("partition_dropped", partition=name)
