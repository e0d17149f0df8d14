"""What a wiped Redis costs under load: acknowledged events that PostgreSQL never gets, and progress that differs.

The state Redis is emptied in the middle of a steady load. That is the worst that can happen to it: a restart keeps what
its append-only file has.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic, sleep, time_ns
from uuid import uuid4

import uvloop

from benchmarks.product import Product
from benchmarks.throughput import IncompleteError
from cli.database import log_database
from config.settings import Settings
from models.rules.goals import Rulebook
from models.state.connection import connect_state
from tasks.audit.audit import Auditor, Scope
from tasks.audit.published_rules import published_rules
from tools.loadtest.generator import Plan, Shape, make_plan
from tools.loadtest.requests import http_requests
from tools.loadtest.sender import Pace, SendReport, send
from tools.loadtest.targets import HttpTarget
from tools.loadtest.verification import verify
from worker.wiring import backlog

RATE = 1_000
"""Events a second of the load."""
_BATCH = 10
_SENDERS = 16
_USERS = 2_000
_PATIENCE = 60.0
_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Wipe:
    """What one wipe cost."""

    acknowledged: int
    lost: int
    """Acknowledged events that are not in PostgreSQL."""
    rows: int
    """Rows of progress that the acknowledged events mean."""
    rows_behind: int
    """Rows that are not what the acknowledged events mean: what was lost is missing in them."""
    drift: int
    """Differences that `questline audit` finds. There are none: progress that was written a moment before its events is
    computed anew when the wipe is noticed."""

    def line(self) -> tuple[str, str]:
        """The figure for people: its name and its value."""
        lost = f"{self.lost:,} of {self.acknowledged:,} acknowledged events lost"
        behind = f"{self.rows_behind:,} of {self.rows:,} rows without them"
        return f"Redis wiped at {RATE:,} events/s", f"{lost}, {behind}, {self.drift:,} differences of the audit"


def measure(product: Product, rulebook: Rulebook, *, seconds: float, repetitions: int) -> Iterator[Wipe]:
    """Wipe Redis in the middle of loads of so many seconds.

    Raises:
        IncompleteError: the product did not come to rest.
    """
    known = 0
    for _ in range(repetitions):
        run = uuid4().hex[:10]
        shape = Shape(events=int(RATE * seconds), users=_USERS, tenant_id=f"bench-{run}")
        plan = make_plan(rulebook, shape, run=run, now=time_ns() // 1_000)
        sent = uvloop.run(_send_and_wipe(product, plan, seconds / 2))
        _wait_for_rest(product.settings)
        wipe = _compare(product.settings, sent)
        yield replace(wipe, drift=wipe.drift - known)
        known = wipe.drift


async def _send_and_wipe(product: Product, plan: Plan, after: float) -> SendReport:
    pace = Pace(concurrency=_SENDERS, rate=RATE, patience=_PATIENCE)
    target = HttpTarget(product.http, _SENDERS)
    sending = asyncio.create_task(send(plan, list(http_requests(plan, _BATCH)), target, pace))
    await asyncio.sleep(after)
    with connect_state(product.settings.state) as redis:
        await asyncio.to_thread(redis.flushall)
    return await sending


def _wait_for_rest(settings: Settings) -> None:
    deadline = monotonic() + _PATIENCE
    while left := backlog(settings):
        if monotonic() > deadline:
            raise IncompleteError(f"{left:,} entries are on their way after {_PATIENCE:.0f} s")
        sleep(0.1)


def _compare(settings: Settings, sent: SendReport) -> Wipe:
    with log_database(settings) as engine:
        rules = published_rules(engine, settings)
        stored = verify(sent, rules, settings.database_url, timeout=_GRACE_S)
        drift = Auditor(engine, lambda: rules).run(Scope(), grace=timedelta()).difference_count
    return Wipe(
        acknowledged=sent.distinct_accepted,
        lost=stored.lost_events.count,
        rows=stored.expected_rows,
        rows_behind=stored.wrong_rows.count,
        drift=drift,
    )
