"""One tenant cannot take all of a receiver's bodies, connections and gRPC calls: the others find room."""

import asyncio
from contextlib import ExitStack
from threading import Event
from typing import Any

import grpc
import pytest

from api.database_threads import DatabaseThreads
from cli.client.messages import LOGIN_METHOD
from models.access.callers import ANYBODY
from models.fairness import Shares
from tests.support.http_server import Served, everything, one_answer, refused, serving, size_app
from tests.support.keyed_receiver import KeyedReceiver
from tests.support.servers import wait_until

pytestmark = pytest.mark.anyio
HELD = 10_000


class Owners:
    """Takes each key for the name of a tenant."""

    def admit(self, _shown):
        return ANYBODY

    def denied(self):
        """Counts nothing."""

    def owner(self, shown):
        return shown or ""

    def crowded_out(self):
        """Counts nothing."""


@pytest.fixture
def server():
    with serving(size_app(), held_bytes=HELD, connections=10) as served:
        served.limits.authenticator = Owners()
        yield served


def get(owner: str) -> bytes:
    return f"GET /size HTTP/1.1\r\nHost: x\r\nX-API-Key: {owner}\r\n\r\n".encode()


def post(owner: str, size: int, sent: int) -> bytes:
    head = f"POST /size HTTP/1.1\r\nHost: x\r\nX-API-Key: {owner}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"x" * sent


def hold(server: Served, held: ExitStack, request: bytes) -> Any:
    connection = held.enter_context(server.connect())
    connection.sendall(request)
    return connection


def kind(answer: bytes) -> str:
    return str(refused(answer, 503)["type"]).rpartition(":")[2]


@pytest.mark.parametrize("owner", ["loud", ""])
def test_bodies_of_one_owner_leave_room_for_those_of_others(server, owner):
    """The empty owner is everybody who shows no valid key."""
    with ExitStack() as held:
        for number in range(1, 8):
            hold(server, held, post(owner, 5000, 1000))
            wait_until(lambda number=number: server.limits.held_bytes == 1000 * number)
        assert kind(everything(hold(server, held, post(owner, 5000, 2000)))) == "tenant-busy"
        assert one_answer(hold(server, held, post("quiet", 1500, 1500))).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: server.limits.held_bytes == 0)
    assert server.limits.bodies.of(owner) == 0


def test_connections_of_one_owner_leave_room_for_those_of_others(server):
    with ExitStack() as held:
        for _ in range(8):
            assert one_answer(hold(server, held, get("loud"))).startswith(b"HTTP/1.1 200 ")
        assert kind(everything(hold(server, held, get("loud")))) == "tenant-busy"
        assert one_answer(hold(server, held, get("quiet"))).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: server.limits.connections.held == 0)
    with server.connect() as connection:
        connection.sendall(get("loud"))
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_connections_on_which_nothing_was_said_make_room_for_others(server):
    with ExitStack() as held:
        for _ in range(10):
            held.enter_context(server.connect())
        wait_until(lambda: len(server.server.server_state.connections) == 10)
        for _ in range(5):
            assert one_answer(hold(server, held, get("quiet"))).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: not server.limits.silent)


async def test_grpc_calls_of_one_tenant_leave_room_for_those_of_others(stack):
    keyed = KeyedReceiver(stack)
    keyed.watcher.refresh()
    await keyed.open()
    keyed.grpc._calls = Shares(10)
    loud, quiet = keyed.key("loud", "ingest"), keyed.key("quiet", "ingest")
    metadata = (("x-api-key", loud),)
    try:
        held = [keyed.channel.stream_unary(LOGIN_METHOD)(timeout=10, metadata=metadata) for _ in range(8)]
        async with asyncio.timeout(5):
            while keyed.grpc._calls.held < 8:
                await asyncio.sleep(0.01)
        assert (await keyed.call(loud))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await keyed.call(quiet))[0] is grpc.StatusCode.OK
        assert keyed.refused() == {"tenant_busy": 1}
        for call in held:
            call.cancel()
        async with asyncio.timeout(5):
            while keyed.grpc._calls.held:
                await asyncio.sleep(0.01)
        assert (await keyed.call(loud))[0] is grpc.StatusCode.OK
    finally:
        await keyed.close()


async def test_reads_of_one_tenant_that_wait_for_postgresql_leave_threads_for_those_of_others():
    threads, stuck = DatabaseThreads(8, patience_s=10), Event()
    loud = [asyncio.create_task(threads.of("loud", stuck.wait)) for _ in range(50)]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert await threads.of("quiet", lambda: "read") == "read"
        assert not any(task.done() for task in loud)
    finally:
        stuck.set()
        await asyncio.gather(*loud)
