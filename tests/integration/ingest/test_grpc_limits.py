"""What a caller without a key, or without haste, can take of the gRPC receiver: little, and not for long."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from ingest.grpc.sockets import GrpcSockets
from ingest.grpc.unauthenticated import MAX_CHECKS, MAX_STREAMS
from ingest.protos import account_pb2
from tests.support.grpc_server import LOGIN, STATISTIC, Server

pytestmark = pytest.mark.anyio
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
HASTY = GrpcSockets(patience=timedelta(milliseconds=200))
MESSAGE = account_pb2.UserLoggedIn(id="1", user_id="ada").SerializeToString()


async def ended(call: Any) -> grpc.StatusCode:
    """The status a call ends with; nothing more is sent on it."""
    async with asyncio.timeout(5):
        code: grpc.StatusCode = await call.code()
        return code


async def answers(call: Any, message: bytes = b"") -> bytes:
    """The first answer to a message on a stream."""
    await call.write(message)
    async with asyncio.timeout(5):
        reply: bytes = await call.read()
        return reply


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("method", [LOGIN, CHECK])
async def test_a_compressed_message_is_refused(redis, method, algorithm):
    async with Server(redis) as server:
        with pytest.raises(aio.AioRpcError) as caught:
            await server.channel.unary_unary(method)(bytes(50 * 1024), compression=algorithm, timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert server.journaled() == []


@pytest.mark.parametrize("method", [LOGIN, STATISTIC, CHECK])
async def test_a_message_that_does_not_arrive_ends_its_call(redis, method):
    async with Server(redis, sockets=HASTY) as server:
        call = server.channel.stream_unary(method)()
        assert await ended(call) is grpc.StatusCode.DEADLINE_EXCEEDED
        await server.send(LOGIN, MESSAGE)
    assert len(server.journaled()) == 1


async def test_a_call_without_a_message_is_an_invalid_argument(redis):
    async with Server(redis) as server:
        call = server.channel.stream_unary(LOGIN)()
        await call.done_writing()
        assert await ended(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_streams_that_need_no_key_are_few_and_leave_room_for_events(redis):
    async with Server(redis) as server:
        watches = [server.channel.stream_stream(WATCH)() for _ in range(MAX_STREAMS // 2)]
        asked = [server.channel.stream_stream(REFLECTION)() for _ in range(MAX_STREAMS // 2)]
        await asyncio.gather(*(answers(call) for call in (*watches, *asked)))
        for method in (WATCH, REFLECTION):
            assert await ended(server.channel.stream_stream(method)()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        stub = health_pb2_grpc.HealthStub(server.channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        await server.send(LOGIN, MESSAGE)

        watches[0].cancel()
        async with asyncio.timeout(5):
            while True:
                again = server.channel.stream_stream(WATCH)()
                await again.write(b"")
                if await again.read() is not aio.EOF:  # type: ignore[attr-defined]  # its stub lacks EOF
                    break
        for call in (*watches, *asked, again):
            call.cancel()


async def test_checks_without_a_message_leave_room_for_events_and_end(redis):
    async with Server(redis, sockets=GrpcSockets(patience=timedelta(seconds=2))) as server:
        checks = [server.channel.stream_unary(CHECK)() for _ in range(MAX_CHECKS + 1)]
        codes = [asyncio.create_task(ended(call)) for call in checks]
        done, _ = await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in done} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        await server.send(LOGIN, MESSAGE)
        assert sorted(code.name for code in await asyncio.gather(*codes)) == [
            *["DEADLINE_EXCEEDED"] * MAX_CHECKS,
            "RESOURCE_EXHAUSTED",
        ]


@pytest.mark.parametrize("method", [WATCH, REFLECTION])
async def test_a_stream_that_needs_no_key_ends_after_a_while_and_may_be_asked_for_again(redis, method):
    async with Server(redis, sockets=GrpcSockets(stream_lifetime=timedelta(milliseconds=200))) as server:
        for _ in range(2):
            call = server.channel.stream_stream(method)()
            await answers(call)
            assert await ended(call) is grpc.StatusCode.UNAVAILABLE


async def test_bytes_that_are_no_reflection_request_are_answered(redis):
    async with Server(redis) as server:
        call = server.channel.stream_stream(REFLECTION)()
        reply = reflection_pb2.ServerReflectionResponse.FromString(await answers(call, b"\xff\xff"))
        assert reply.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        call.cancel()


async def test_a_watcher_that_reads_nothing_holds_up_neither_the_others_nor_the_stop(redis):
    answers = health_pb2.HealthCheckResponse
    async with Server(redis) as server:
        said = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
        while (await said.read()).status != answers.SERVING:
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await watch_without_reading(reader, writer)
        server.ready = False
        async with asyncio.timeout(5):
            assert (await said.read()).status == answers.NOT_SERVING
            server.receiver.finish()
        said.cancel()
        writer.close()


async def watch_without_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a health watch with a window of no bytes, in frames by hand; returns when the answer has begun."""
    headers = {":method": "POST", ":scheme": "http", ":path": WATCH, ":authority": "a", "te": "trailers"}
    headers["content-type"] = "application/grpc"
    block = b"".join(bytes([0, len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in headers.items())
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0"))
    writer.write(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, bytes(5)))
    kind = None
    async with asyncio.timeout(5):
        while kind != HEADERS:
            head = await reader.readexactly(9)
            kind = head[3]
            await reader.readexactly(int.from_bytes(head[:3]))


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content
