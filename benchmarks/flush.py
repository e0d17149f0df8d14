"""The write of a flush alone: a transaction of 1,000 rows by ``FlushWriter``, as the flush task makes it."""

from collections.abc import Iterator
from time import perf_counter, time_ns
from uuid import uuid4

from config.settings import Settings
from models.database.connection import connect_database
from models.database.flush.items import EventRow, Flush, ProgressRow
from models.database.flush.writer import FlushWriter
from models.events import Event
from models.rules.rows import Row

ROWS = 1_000
NEW, CHANGED, WITH_EVENTS = "new rows", "changed rows", "changed rows and 1,000 events"


def measure(settings: Settings, times: int) -> dict[str, list[float]]:
    """Seconds of each write, by what was written."""
    engine = connect_database(settings.database_url, application="questline-bench")
    writer = FlushWriter(engine, batch_size=ROWS)
    seconds: dict[str, list[float]] = {NEW: [], CHANGED: [], WITH_EVENTS: []}
    try:
        for tenant_id in _tenants(times + 1):
            kinds = {NEW: Flush(_rows(tenant_id, 1)), CHANGED: Flush(_rows(tenant_id, 2))}
            kinds[WITH_EVENTS] = Flush(_rows(tenant_id, 3), _events(tenant_id))
            for kind, flush in kinds.items():
                started = perf_counter()
                refused = writer.write(flush)
                seconds[kind].append(perf_counter() - started)
                if refused:
                    raise AssertionError(refused[0].error)
    finally:
        engine.dispose()
    return {kind: taken[1:] for kind, taken in seconds.items()}  # the first connects and warms the caches


def _tenants(times: int) -> Iterator[str]:
    run = uuid4().hex[:10]
    return (f"bench-flush-{run}-{number}" for number in range(times))


def _rows(tenant_id: str, record_version: int) -> list[ProgressRow]:
    now = time_ns() // 1_000
    return [
        ProgressRow(
            tenant_id,
            f"user-{number}",
            Row(
                goal_id="win-matches",
                period="",
                challenge_id="season",
                operator="count",
                rule_version=1,
                record_version=record_version,
                completed_at=now if number % 10 == 0 else 0,
                created_at=now,
                updated_at=now,
                state=[record_version],
            ),
        )
        for number in range(ROWS)
    ]


def _events(tenant_id: str) -> list[EventRow]:
    now = time_ns() // 1_000
    return [
        EventRow(Event(uuid4().hex, "match.won", tenant_id, f"user-{number}", now, now), 0, 3, now, 1)
        for number in range(ROWS)
    ]
