"""Freshness under a steady load: how long an accepted event takes to be readable, and to be in PostgreSQL.

Both are measured on single events of new users, sent between those of the load, and both begin at the
event's own ``accepted_at``, which the receiver draws before it validates and journals the event. They end
when somebody has seen the event: a reader whose ``GET`` showed it, a query whose answer held it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import psycopg2
import uvloop

from benchmarks.product import Product
from benchmarks.throughput import USERS, IncompleteError
from cli.client.messages import EVENTS_PATH
from config.shards import shard_for
from models.rules.goals import Rulebook
from tools.loadtest.event_kinds import Kind, kinds_of
from tools.loadtest.generator import Plan, Shape, make_plan
from tools.loadtest.requests import http_requests
from tools.loadtest.sender import Pace, SendReport, send
from tools.loadtest.targets import HttpTarget

RATE = 1_000
"""Events a second of the load."""
BATCH = 10
"""Events in one of its requests."""
_WARM_UP_SECONDS = 3.0
"""How long the load runs before the first probe."""
_EVERY_SECONDS = 0.05
_READ_PAUSE, _QUERY_PAUSE = 0.002, 0.02
_PATIENCE = 30.0

_SEEN = """
SELECT user_id, extract(epoch FROM accepted_at)::float8
FROM events
WHERE tenant_id = %s AND user_id = ANY(%s) AND occurred_at >= %s
"""


@dataclass
class Freshness:
    """Seconds from accepted until seen, one of each for every probe."""

    sent: SendReport = field(repr=False)
    """The load."""
    readable: list[float]
    in_postgresql: list[float]

    @property
    def load_rate(self) -> float:
        """Events a second that the load really had."""
        return self.sent.sent / self.sent.seconds


class _Probes:
    """Single events of new users and when they were seen. Moments are seconds since the epoch."""

    def __init__(self, product: Product, session: aiohttp.ClientSession, kind: Kind) -> None:
        self._product = product
        self._session = session
        self._kind = kind
        self.tenant_id = f"bench-probes-{uuid4().hex[:10]}"
        self.begun = datetime.now(UTC) - timedelta(seconds=1)
        self.accepted: dict[str, float] = {}
        self.readable: dict[str, float] = {}
        self.in_postgresql: dict[str, float] = {}
        self.waiting: set[str] = set()

    def shard(self, user_id: str) -> int:
        """The shard of a probe's user."""
        return shard_for(self.tenant_id, user_id, self._product.settings.shards)

    async def probe(self, user_id: str) -> None:
        """Post one event, and read the user's progress until it is there."""
        event = {
            "event_id": uuid4().hex,
            "event_type": self._kind.event_type,
            "user_id": user_id,
            "tenant_id": self.tenant_id,
            "value": self._kind.top,
        }
        headers = {"Content-Type": "application/json"}
        async with self._session.post(EVENTS_PATH, data=orjson.dumps(event), headers=headers) as answer:
            answer.raise_for_status()
        posted = time.time()
        self.waiting.add(user_id)
        while not await self._is_readable(user_id):
            waited = time.time() - posted
            if waited > _PATIENCE:
                raise IncompleteError(f"a probe was not readable after {waited:.0f} s")
            await asyncio.sleep(_READ_PAUSE + 0.1 * waited)  # readers must not become the load
        self.readable[user_id] = time.time()

    async def _is_readable(self, user_id: str) -> bool:
        path = f"/v1/users/{user_id}/progress"
        async with self._session.get(path, params={"tenant_id": self.tenant_id}) as answer:
            answer.raise_for_status()
            goals: list[dict[str, Any]] = orjson.loads(await answer.read())["goals"]
        return any(goal["progress"] for goal in goals)

    async def watch_postgresql(self) -> None:
        """Note when PostgreSQL shows each probe; runs until it is cancelled."""
        with psycopg2.connect(self._product.settings.database_url) as connection:
            connection.autocommit = True
            while True:
                for user_id, accepted in await asyncio.to_thread(self._seen, connection):
                    self.in_postgresql[user_id] = time.time()
                    self.accepted[user_id] = accepted
                    self.waiting.discard(user_id)
                await asyncio.sleep(_QUERY_PAUSE)

    def _seen(self, connection: "psycopg2.extensions.connection") -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(_SEEN, (self.tenant_id, list(self.waiting), self.begun))
            return cursor.fetchall()


def measure(
    product: Product,
    rulebook: Rulebook,
    seconds: float,
    *,
    change: Callable[[Plan], None] = lambda _plan: None,
    spared_user: int | None = None,
) -> Freshness:
    """Keep up a load of ``RATE`` for so many seconds, and probe it after the first few.

    Args:
        product: what is measured.
        rulebook: the goals that the load is drawn from.
        seconds: how long the load lasts.
        change: changes the load's events before they are sent.
        spared_user: the number of a user of the load whose shard is not probed.

    Raises:
        IncompleteError: a probe was lost.
    """
    try:
        run = uuid4().hex[:10]
        shape = Shape(events=int(RATE * seconds), users=USERS, tenant_id=f"bench-{run}")
        plan = make_plan(rulebook, shape, run=run, now=time.time_ns() // 1_000)
        change(plan)
        spared = None
        if spared_user is not None:
            spared = shard_for(plan.tenant_id, plan.user_id(spared_user), product.settings.shards)
        return uvloop.run(_measure(product, rulebook, plan, spared))
    except ExceptionGroup as group:  # of the probes, which run side by side: one reason is enough
        raise IncompleteError(f"a probe failed: {group.exceptions[0]}") from group
    except aiohttp.ClientError as error:
        raise IncompleteError(f"the receiver did not answer: {error}") from error


async def _measure(product: Product, rulebook: Rulebook, plan: Plan, spared: int | None) -> Freshness:
    target = HttpTarget(product.http, 16)
    kind = kinds_of(rulebook, platform_only=False)[0]
    async with aiohttp.ClientSession(product.http) as session:
        probes = _Probes(product, session, kind)
        watching = asyncio.create_task(probes.watch_postgresql())
        pace = Pace(concurrency=16, rate=RATE)
        loading = asyncio.create_task(send(plan, list(http_requests(plan, BATCH)), target, pace))
        try:
            await asyncio.wait([loading], timeout=_WARM_UP_SECONDS)
            await _probe_during(loading, probes, lambda user: probes.shard(user) != spared)
            sent = await loading
            await _drain(probes)
        finally:
            loading.cancel()
            watching.cancel()
            await asyncio.gather(loading, watching, return_exceptions=True)
    return Freshness(
        sent=sent,
        readable=[at - probes.accepted[user_id] for user_id, at in probes.readable.items()],
        in_postgresql=[at - probes.accepted[user_id] for user_id, at in probes.in_postgresql.items()],
    )


async def _probe_during(loading: "asyncio.Task[Any]", probes: _Probes, wanted: Callable[[str], bool]) -> None:
    users = filter(wanted, (f"probe-{number}" for number in count(1)))
    async with asyncio.TaskGroup() as group:
        while not loading.done():
            group.create_task(probes.probe(next(users)))
            await asyncio.sleep(_EVERY_SECONDS)


async def _drain(probes: _Probes) -> None:
    deadline = time.monotonic() + _PATIENCE
    while probes.waiting:
        if time.monotonic() > deadline:
            raise IncompleteError(f"{len(probes.waiting)} probes are not in PostgreSQL after {_PATIENCE:.0f} s")
        await asyncio.sleep(_QUERY_PAUSE)
