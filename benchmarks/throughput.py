"""End-to-end rate: from the first request until the last event is in PostgreSQL, as a count of rows says."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep, time_ns
from uuid import uuid4

import psycopg2
import uvloop

from benchmarks.cpu import CpuReading, read_cpu
from benchmarks.product import Product
from models.rules.goals import Rulebook
from tools.loadtest.generator import Plan, Shape, make_plan
from tools.loadtest.requests import grpc_requests, http_requests
from tools.loadtest.sender import Pace, SendReport, send
from tools.loadtest.targets import GrpcTarget, HttpTarget, Target

USERS = 2_000
_PATIENCE = 90.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.03, 0.5


class IncompleteError(Exception):
    """Events were refused or did not reach PostgreSQL: there is no figure to show."""


@dataclass(frozen=True)
class Load:
    """A way of sending."""

    name: str
    title: str
    batch: int
    concurrency: int
    """Requests under way at a time."""
    grpc: bool = False


HTTP_BATCHED = Load("http", "HTTP, 200 events a request", batch=200, concurrency=8)
HTTP_SINGLE = Load("http-single", "HTTP, one event a request", batch=1, concurrency=64)
GRPC = Load("grpc", "gRPC, one event a call", batch=1, concurrency=64, grpc=True)


@dataclass(frozen=True)
class Repetition:
    """One measured run. Times are in seconds."""

    sent: SendReport
    seconds: float
    """From the first request until PostgreSQL had everything."""
    send_seconds: float
    before: CpuReading
    after: CpuReading

    @property
    def events(self) -> int:
        """How many there were, all of them accepted."""
        return self.sent.plan.distinct

    @property
    def rate(self) -> float:
        """Events a second, end to end."""
        return self.events / self.seconds


def draw(rulebook: Rulebook, load: Load, events: int) -> Plan:
    """The events of one repetition: distinct, of users who have none yet, under a tenant of their own."""
    run = uuid4().hex[:10]
    shape = Shape(events=events, users=USERS, tenant_id=f"bench-{run}", platform_only=load.grpc)
    return make_plan(rulebook, shape, run=run, now=time_ns() // 1_000)


def measure(product: Product, rulebook: Rulebook, load: Load, events: int) -> Repetition:
    """Send as fast as the product takes it, and wait for PostgreSQL.

    Raises:
        IncompleteError: not every event arrived.
    """
    return measure_plan(product, load, draw(rulebook, load, events))


def measure_plan(product: Product, load: Load, plan: Plan) -> Repetition:
    """The same with events that are drawn already."""
    target: Target = GrpcTarget(product.grpc) if load.grpc else HttpTarget(product.http, load.concurrency)
    with psycopg2.connect(product.settings.database_url) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def count() -> int:
            cursor.execute("SELECT count(*) FROM events WHERE tenant_id = %s", (plan.tenant_id,))
            return int(cursor.fetchall()[0][0])

        return run(plan, load, target, product.pids(), count=count, expected=plan.distinct)


def run(
    plan: Plan, load: Load, target: Target, pids: dict[str, int], *, count: Callable[[], int], expected: int
) -> Repetition:
    """One repetition against any target; ``count`` says how much of ``expected`` is in PostgreSQL.

    Raises:
        IncompleteError: not every event arrived.
    """
    requests = list(grpc_requests(plan) if load.grpc else http_requests(plan, load.batch))
    before = read_cpu(pids)
    sent = uvloop.run(send(plan, requests, target, Pace(concurrency=load.concurrency, patience=_PATIENCE)))
    _check(sent)
    finished = _wait(count, expected, sent.started)
    return Repetition(sent, finished - sent.started, sent.seconds, before, read_cpu(pids))


def _check(sent: SendReport) -> None:
    if sent.distinct_accepted != sent.plan.distinct:
        raise IncompleteError(
            f"{sent.distinct_accepted:,} of {sent.plan.distinct:,} events were accepted; "
            f"refused: {dict(sent.rejected)}, without an answer: {len(sent.unanswered):,}"
        )


def _wait(count: Callable[[], int], expected: int, started: float) -> float:
    """The moment of the first question that found everything.

    Counting costs PostgreSQL time that belongs to the product, so the next question comes when half of what
    is missing should be there.
    """
    while True:
        asked = monotonic()
        found = count()
        if found >= expected:
            return asked
        elapsed = asked - started
        if elapsed > _PATIENCE:
            raise IncompleteError(f"{found:,} of {expected:,} are in PostgreSQL after {elapsed:.0f} s")
        expected_seconds = elapsed * (expected - found) / max(found, 1)
        sleep(min(max(expected_seconds / 2, _SHORTEST_PAUSE), _LONGEST_PAUSE))
