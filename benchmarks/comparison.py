"""Running the naive design beside the product: same servers, goals, generator, requests and worker count."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from benchmarks import naive
from benchmarks.product import Product, child
from benchmarks.throughput import HTTP_BATCHED, Repetition, draw, run
from cli.client.ports import LOOPBACK, free_port
from models.errors import ServiceFailedError
from models.rules.goals import Rulebook
from tools.loadtest.targets import HttpTarget
from tools.local.readiness import listens
from tools.local.supervision import tail

_READY_SECONDS = 30.0
_BROKER_NUMBER = "/1"
"""The broker's database, so that the two systems do not share queues on the one server."""


@dataclass(frozen=True)
class NaiveSystem:
    """The naive design, running."""

    product: Product
    rulebook: Rulebook
    url: str
    pids: dict[str, int]

    def measure(self, events: int) -> Repetition:
        """One repetition of batched HTTP, until PostgreSQL has counted every event.

        Raises:
            IncompleteError: not every event arrived.
        """
        plan = draw(self.rulebook, HTTP_BATCHED, events)
        moves = sum(len(self.rulebook.by_event[plan.kinds[kind].event_type]) for kind in plan.kind)
        with (
            psycopg2.connect(self.product.settings.database_url) as connection,
            connection.cursor() as cursor,
        ):
            connection.autocommit = True

            def count() -> int:
                cursor.execute(naive.APPLIED, (plan.tenant_id,))
                return int(cursor.fetchall()[0][0])

            target = HttpTarget(self.url, HTTP_BATCHED.concurrency)
            return run(plan, HTTP_BATCHED, target, self.pids, count=count, expected=moves)


@contextmanager
def running_naive(product: Product, rulebook: Rulebook) -> Iterator[NaiveSystem]:
    """The naive design on the product's servers while the ``with`` lasts.

    Raises:
        ServiceFailedError: its receiver did not start.
    """
    with psycopg2.connect(product.settings.database_url) as connection, connection.cursor() as cursor:
        cursor.execute(naive.TABLE)
    broker = product.settings.broker.removesuffix("/0") + _BROKER_NUMBER
    logs = product.settings.questline_data_dir / "logs"
    environment = {**product.environment, "BROKER_URL": broker}
    port = free_port()
    with ExitStack() as stack:
        pids = {}
        roles = {"receiver": str(port)}
        roles |= {f"worker-{number}": f"naive-{number}" for number in range(product.settings.shard_workers)}
        for name, argument in roles.items():
            command = [sys.executable, "-m", "benchmarks.naive", name.partition("-")[0], argument]
            process = stack.enter_context(child(command, environment, logs / f"naive-{name}.log"))
            pids[f"naive {name}"] = process.pid
        _wait_until_listening(port, logs / "naive-receiver.log")
        yield NaiveSystem(product, rulebook, f"http://{LOOPBACK}:{port}", pids)


def _wait_until_listening(port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not listens(port, LOOPBACK):
        if time.monotonic() > deadline:
            raise ServiceFailedError(f"the naive receiver did not start:\n{tail(log)}")
        time.sleep(0.1)
