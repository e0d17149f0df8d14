"""One tenant floods with all it has, another sends ten events a second: what the other one feels of it."""

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp
import orjson
import uvloop

from benchmarks.product import Product, running_product
from cli.client.messages import EVENTS_PATH, LOGIN_METHOD
from ingest.protos import account_pb2
from models.database.api_keys import Rights, create_key
from models.database.connection import connect_database
from tools.loadtest.event_kinds import Kind, kinds_of
from tools.loadtest.report import latency_percentiles
from tools.loadtest.requests import Request
from tools.loadtest.targets import BusyError, GrpcTarget, HttpTarget, UnreachableError
from worker.wiring import load_rulebook

LOUD, QUIET = "bench-loud", "bench-quiet"
_EVERY_S = 0.1
_PATIENCE_S = 10.0
"""How long an event is waited for until it is readable; it counts as so long then."""
_BUSY_PAUSE_S = 0.05
_RAMP_S = 2.0
_TIMES_QUIET, _LEAST_S = 3, 0.1
"""The p95 of the quiet tenant may be so many times the one without a flood, or as many times this."""
_PAYLOAD = b'{"d":"' + b"x" * 15_500 + b'"}'


class Flood(NamedTuple):
    """How the loud tenant floods."""

    connections: int
    events: int
    """In a request."""
    payload: bytes = b""
    grpc: bool = False


FLOODS = {
    "big_payloads": Flood(8, 64, _PAYLOAD),
    "new_users": Flood(4, 1_000),
    "many_connections": Flood(400, 1),
    "grpc": Flood(400, 1, grpc=True),
}


class Keys(NamedTuple):
    """The keys of both tenants."""

    loud: str
    quiet: str


def measure_noisy_neighbour(seconds: float) -> dict[str, Any]:
    """Milliseconds until an event of the quiet tenant is readable, without a flood and with each, and its refusals."""
    with running_product() as product:
        kind = kinds_of(load_rulebook(product.settings), platform_only=False)[0]
        keys = _make_keys(product)
        return uvloop.run(_measure(product, keys, kind, seconds))


def _make_keys(product: Product) -> Keys:
    engine = connect_database(product.settings.database_url, application="questline-bench")
    made = Keys(*(create_key(engine, Rights(tenant, "admin"))[0].text for tenant in (LOUD, QUIET)))
    engine.dispose()
    return made


async def _measure(product: Product, keys: Keys, kind: Kind, seconds: float) -> dict[str, Any]:
    await asyncio.sleep(3)  # until the receiver knows the keys
    figures: dict[str, Any] = {}
    headers = {"Authorization": f"Bearer {keys.quiet}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(product.http, headers=headers) as session:
        quiet = _Quiet(session, kind)
        figures["without_a_flood"] = await quiet.measure(seconds / 2)
        for name, flood in FLOODS.items():
            async with _flooding(product, keys.loud, kind, flood) as answers:
                await asyncio.sleep(_RAMP_S)
                figures[name] = {**await quiet.measure(seconds), "answers_to_the_flood": dict(answers)}
            begun = time.monotonic()
            await quiet.is_as_before()
            figures[name]["as_before_after_s"] = round(time.monotonic() - begun)
    return figures


class _Quiet:
    """The tenant that sends little."""

    def __init__(self, session: aiohttp.ClientSession, kind: Kind) -> None:
        self._session, self._kind = session, kind

    async def measure(self, seconds: float) -> dict[str, Any]:
        """Send ten events a second, one after the other."""
        end, refused, waits = time.monotonic() + seconds, 0, list[float]()
        while time.monotonic() < end:
            wait = await self._probe()
            refused += wait is None
            waits += [] if wait is None else [wait]
            await asyncio.sleep(_EVERY_S)
        return {"events": len(waits), "refused": refused, "readable_ms": latency_percentiles(waits or [_PATIENCE_S])}

    async def is_as_before(self) -> None:
        """Return once an event is readable at once again, or after a minute."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            wait = await self._probe()
            if wait is not None and wait < _TIMES_QUIET * _LEAST_S:
                return

    async def _probe(self) -> float | None:
        """Seconds until an event of a new user was readable; None where it was refused."""
        user, begun = f"probe-{uuid4().hex}", time.monotonic()
        event = {"event_id": user, "event_type": self._kind.event_type, "user_id": user, "value": self._kind.top}
        async with self._session.post(EVENTS_PATH, data=orjson.dumps(event)) as answer:
            if answer.status != 202:
                return None
        while not await self._is_readable(user):
            waited = time.monotonic() - begun
            if waited > _PATIENCE_S:
                break
            await asyncio.sleep(0.005 + waited / 20)
        return time.monotonic() - begun

    async def _is_readable(self, user: str) -> bool:
        path = f"/v1/users/{user}/progress"
        async with self._session.get(path, params={"tenant_id": QUIET}) as answer:
            goals: list[dict[str, Any]] = orjson.loads(await answer.read()).get("goals", [])
        return any(goal["progress"] for goal in goals)


@asynccontextmanager
async def _flooding(product: Product, key: str, kind: Kind, flood: Flood) -> AsyncIterator[dict[str, int]]:
    answers = {"taken": 0, "refused": 0}
    settings = product.settings
    target: HttpTarget | GrpcTarget = HttpTarget(product.http, flood.connections, key=key)
    if flood.grpc:
        target = GrpcTarget(f"127.0.0.1:{settings.grpc_port}", key=key)
    requests = _calls() if flood.grpc else _bodies(kind, flood)
    async with target:
        tasks = [asyncio.create_task(_flood(target.send, requests, answers)) for _ in range(flood.connections)]
        try:
            yield answers
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _flood(send: Callable[[Request], Any], requests: Iterator[Request], answers: dict[str, int]) -> None:
    while True:
        try:
            await send(next(requests))
            answers["taken"] += 1
        except (BusyError, UnreachableError):
            answers["refused"] += 1
            await asyncio.sleep(_BUSY_PAUSE_S)


def _bodies(kind: Kind, flood: Flood) -> Iterator[Request]:
    """Requests that cost the sender little: what it takes must not be taken from those who are measured."""
    payload = b',"payload":' + flood.payload if flood.payload else b""
    rest = orjson.dumps({"event_type": kind.event_type, "value": kind.top})[1:-1] + payload
    while True:
        run = uuid4().hex.encode()
        events = [b'{"event_id":"%b-%d","user_id":"%b-%d",%b}' % (run, n, run, n, rest) for n in range(flood.events)]
        yield Request(EVENTS_PATH, b"[" + b",".join(events) + b"]", array("i", range(flood.events)))


def _calls() -> Iterator[Request]:
    while True:
        name = uuid4().hex
        message = account_pb2.UserLoggedIn(id=name, user_id=name, namespace=LOUD)
        yield Request(LOGIN_METHOD, message.SerializeToString(), array("i", [0]))
