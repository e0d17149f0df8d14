"""Old partitions of events and evaluations are dropped whole; nothing younger is touched."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from config.settings import Settings
from models.database.partitions import (
    EVALUATIONS,
    days_around,
    drop_old_partitions,
    drop_partition,
    ensure_partitions,
    partition_name,
    partitions_before,
)
from models.failpoints import now_us
from models.rules.calendar import to_datetime
from worker.celery_app import make_app


@pytest.fixture
def made(engine):
    """The partitions of both tables around a moment; gone again after the test."""
    found: list[str] = []

    def make(now, days=30):
        for table in ("events", EVALUATIONS):
            around = days_around(now, timedelta(days=days))
            ensure_partitions(engine, around, table)
            found.extend(partition_name(day, table) for day in around)

    yield make
    for name in found:
        drop_partition(engine, name)


def test_only_partitions_wholly_before_the_limit_are_old(engine, made):
    now = datetime(2019, 3, 21, 12, tzinfo=UTC)
    made(now, days=10)
    assert partitions_before(engine, now - timedelta(days=8)) == [
        "evaluations_20190311", "evaluations_20190312", "events_20190311", "events_20190312",
    ]  # fmt: skip


def test_the_event_retention_drops_what_is_older_and_is_repeated_without_harm(engine, made):
    now = to_datetime(now_us())
    made(now)
    settings = Settings(event_retention=timedelta(days=20))
    drop_old_partitions(engine, settings)
    limit = now - timedelta(days=20)
    assert partitions_before(engine, limit) == []
    assert partition_name(limit.date()) in partitions_before(engine, limit + timedelta(days=1))
    drop_old_partitions(engine, settings)


def test_without_a_retention_nothing_is_dropped(engine, made):
    now = to_datetime(now_us())
    made(now)
    drop_old_partitions(engine, Settings())
    assert len(partitions_before(engine, now)) >= 60
    assert "drop-partitions" not in make_app(Settings()).conf.beat_schedule
    assert "drop-partitions" in make_app(Settings(event_retention=timedelta(days=90))).conf.beat_schedule


def test_a_retention_that_loading_could_not_live_with_is_refused(monkeypatch):
    monkeypatch.setenv("MAX_LATENESS", "10d")
    monkeypatch.setenv("EVENT_RETENTION", "22d")
    assert Settings().event_retention == timedelta(days=22)
    monkeypatch.setenv("EVENT_RETENTION", "21d")
    with pytest.raises(ValidationError, match="must be at least 22d, twice MAX_LATENESS and 2 days"):
        Settings()
