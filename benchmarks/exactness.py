"""After a load: everything acknowledged is in PostgreSQL once, and progress is what the stored events say."""

from collections import Counter
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

import psycopg2

from benchmarks.product import Product
from benchmarks.throughput import IncompleteError
from cli.database import log_database
from tasks.audit.audit import Auditor, Scope
from tasks.audit.published_rules import published_rules
from tools.loadtest.canary_counter import CANARY_COUNTER
from tools.loadtest.sender import SendReport
from worker.wiring import backlog

_PAUSE_SECONDS = 0.2
_DOUBLED = """
WITH kept AS (SELECT user_id, count(*) AS events FROM events WHERE tenant_id = %(tenant)s GROUP BY user_id),
counted AS (
    SELECT user_id, sum(progress) AS events FROM user_goal_progress
    WHERE tenant_id = %(tenant)s AND starts_with(goal_id, %(canary)s) GROUP BY user_id
)
SELECT coalesce(sum(greatest(counted.events - kept.events, 0)), 0)::bigint,
    count(*) FILTER (WHERE counted.events IS NULL)
FROM kept LEFT JOIN counted USING (user_id)
"""
"""By how much the canary counter is too high, and how many users are in none."""


def drain(product: Product, patience: float) -> float:
    """Wait until nothing is on its way to PostgreSQL; returns the seconds that took.

    Raises:
        IncompleteError: something still is after ``patience`` seconds.
    """
    started = monotonic()
    while (left := backlog(product.settings)) > 0:
        if monotonic() - started > patience:
            raise IncompleteError(f"{left:,} batches, users or log entries wait after {patience:.0f} s")
        sleep(_PAUSE_SECONDS)
    return monotonic() - started


def prove(product: Product, *loads: SendReport) -> dict[str, int]:
    """Compare what was acknowledged of some loads with PostgreSQL, and all progress with the events it holds.

    The product must have been started with a canary counter, or an event that took effect twice might not show.

    Raises:
        IncompleteError: an acknowledged event is lost or doubled, a row or an unlock is not what the events say, or
            something could not be compared.
    """
    figures: Counter[str] = Counter(acknowledged=0, stored=0, lost=0, doubled=0, untallied=0)
    with psycopg2.connect(product.settings.database_url) as connection, connection.cursor() as cursor:
        for sent in loads:
            figures.update(_compare_events(cursor, sent))
    with log_database(product.settings) as engine:
        report = Auditor(engine, lambda: published_rules(engine, product.settings)).run(
            Scope(), grace=timedelta(seconds=10)
        )
    left_out = figures.pop("untallied") + report.skipped.total()
    if figures["lost"] or figures["doubled"] or report.difference_count or left_out:
        raise IncompleteError(
            f"{figures['lost']} lost, {figures['doubled']} doubled, "
            f"{report.difference_count} differences in progress, {left_out} left out"
        )
    return {**figures, "rows_audited": report.rows_equal}


def _compare_events(cursor: Any, sent: SendReport) -> dict[str, int]:
    """The figures of one load, which has a tenant of its own."""
    plan = sent.plan
    cursor.execute("SELECT event_id FROM events WHERE tenant_id = %s", (plan.tenant_id,))
    stored = [event_id for (event_id,) in cursor.fetchall()]
    cursor.execute(_DOUBLED, {"tenant": plan.tenant_id, "canary": CANARY_COUNTER})
    ((counted_again, untallied),) = cursor.fetchall()
    known = set(stored)
    acknowledged = [plan.event_id(index) for index, taken in enumerate(sent.accepted_events) if taken]
    return {
        "acknowledged": len(acknowledged),
        "stored": len(stored),
        "lost": sum(event_id not in known for event_id in acknowledged),
        "doubled": len(stored) - len(known) + counted_again,
        "untallied": untallied,
    }
