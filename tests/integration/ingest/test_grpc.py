"""gRPC in, journal out: a real server on a free port, spoken to by field numbers."""

import asyncio
import struct
from datetime import timedelta

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ingest.protos import account_pb2, statistic_pb2
from models.errors import ServiceFailedError
from models.events import MAX_EXACT, Event
from models.state.connection import connect_state
from tests.support.grpc_server import LOGIN, NOW, SHARDS, STATISTIC, Server

pytestmark = pytest.mark.anyio
OUTER = "payload id version name namespace parent_namespace timestamp client_id user_id"
VALUES = "namespace stat_code user_id latest_value inc"
SETTINGS = "default_value request_value update_strategy"


@pytest.fixture
async def server(redis):
    async with Server(redis) as running:
        yield running


def text(number: int, value: str) -> bytes:
    """One length-delimited protobuf field, by hand."""
    return delimited(number, value.encode())


def delimited(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes([number << 3 | 2, len(value)]) + value


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


async def test_a_login_encoded_by_field_numbers_is_journaled_before_ok(server):
    message = text(2, "evt-1") + bytes([3 << 3, 7]) + text(5, "mygame") + text(9, "ada") + text(11, "session")
    message += text(7, "2025-11-10T10:29:00Z") + delimited(
        1, delimited(1, text(1, "unknown")) + delimited(2, text(1, "steam"))
    )
    assert await server.send(LOGIN, message) == b""
    assert server.journaled() == [Event("evt-1", "login", "mygame", "ada", NOW - 60_000_000, NOW, source="ags")]


async def test_a_statistic_encoded_by_field_numbers_is_journaled_before_ok(server):
    item = text(1, "other") + text(2, "match_wins") + text(3, "other") + double(4, 42.5) + double(5, -2.0)
    item += bytes([7 << 3, 1]) + double(8, 1.0) + double(9, 2.0) + text(10, "OVERRIDE")
    message = delimited(1, item) + text(2, "evt-2") + text(5, "mygame") + text(9, "ada") + text(10, "session")
    assert await server.send(STATISTIC, message) == b""
    assert server.journaled() == [
        Event(
            "evt-2",
            "statistic:match_wins",
            "mygame",
            "ada",
            NOW,
            NOW,
            value=42.5,
            increment=-2.0,
            source="ags",
        )
    ]


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (
            account_pb2.UserLoggedIn,
            f"{OUTER} trace_id session_id",
        ),
        (account_pb2.AnonymousSchema19, "user_account user_authentication"),
        (
            account_pb2.UserAuthentication,
            "platform_id refresh platform_user_id simultaneous_platform_id simultaneous_platform_user_id",
        ),
        (
            statistic_pb2.StatItemUpdated,
            f"{OUTER} session_id",
        ),
        (
            statistic_pb2.StatItem,
            f"{VALUES} additional_data ignore_additional_data_on_value_rejected {SETTINGS}",
        ),
    ],
)
async def test_the_field_numbers_are_those_of_accelbyte(message, fields):
    numbers = {field.name: field.number for field in message.DESCRIPTOR.fields}
    assert numbers == {name: number for number, name in enumerate(fields.split(), start=1)}


async def test_the_largest_exact_value_is_taken_as_it_is(server):
    item = statistic_pb2.StatItem(stat_code="s", latest_value=MAX_EXACT)
    await server.send(STATISTIC, statistic_pb2.StatItemUpdated(payload=item, user_id="ada"))
    assert [event.value for event in server.journaled()] == [MAX_EXACT]


async def test_without_a_namespace_the_event_belongs_to_the_default_tenant(server):
    await server.send(LOGIN, account_pb2.UserLoggedIn(id="1", user_id="ada"))
    assert [event.tenant_id for event in server.journaled()] == ["default"]


async def test_without_an_id_a_redelivery_has_the_id_of_the_first(server):
    for user in ("ada", "ada", "bob"):
        await server.send(LOGIN, account_pb2.UserLoggedIn(user_id=user, timestamp="2025-11-10T10:00:00Z"))
    ids = [event.event_id for event in sorted(server.journaled(), key=lambda event: event.user_id)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("method", "message", "details"),
    [
        (LOGIN, account_pb2.UserLoggedIn(id="1"), "userId cannot be empty"),
        (STATISTIC, statistic_pb2.StatItemUpdated(id="1"), "userId cannot be empty"),
        (STATISTIC, statistic_pb2.StatItemUpdated(id="1", user_id="ada"), "payload cannot be nil"),
        (
            STATISTIC,
            statistic_pb2.StatItemUpdated(user_id="ada", payload=statistic_pb2.StatItem(latest_value=1)),
            "statCode cannot be empty",
        ),
        (LOGIN, account_pb2.UserLoggedIn(user_id="a\nb"), "userId must not hold control characters"),
        (LOGIN, account_pb2.UserLoggedIn(user_id="a", namespace="a b"), "namespace must be 1 to 64"),
        (
            LOGIN,
            account_pb2.UserLoggedIn(user_id="a", timestamp="2025-01-01T00:00:00Z"),
            "timestamp is older than the accepted lateness of 7d",
        ),
        (
            STATISTIC,
            statistic_pb2.StatItemUpdated(
                user_id="a", payload=statistic_pb2.StatItem(stat_code="s", latest_value=float("nan"))
            ),
            "payload.latestValue must lie within",
        ),
        (
            STATISTIC,
            statistic_pb2.StatItemUpdated(user_id="a", payload=statistic_pb2.StatItem(stat_code="s", inc=1e300)),
            "payload.inc must lie within",
        ),
    ],
)
async def test_what_is_wrong_is_an_invalid_argument(server, method, message, details):
    code, said = await server.refused(method, message)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said.startswith(details)
    assert server.metrics._pending["challenge_event_handler_events_total"] == 1
    assert server.journaled() == []


async def test_other_namespaces_are_acknowledged_after_the_checks_of_the_message(redis):
    async with Server(redis, namespace="mygame") as server:
        await server.send(LOGIN, account_pb2.UserLoggedIn(user_id="ada", namespace="other"))
        assert server.metrics._pending["questline_events_ignored_total"] == 1
        code, _ = await server.refused(STATISTIC, statistic_pb2.StatItemUpdated(user_id="ada", namespace="other"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert server.journaled() == []
        await server.send(LOGIN, account_pb2.UserLoggedIn(user_id="ada", namespace="mygame"))
        assert len(server.journaled()) == 1


async def test_a_full_journal_is_resource_exhausted(redis):
    async with Server(redis, max_bytes=SHARDS) as server:
        codes = set()
        for number in range(3):
            try:
                await server.send(LOGIN, account_pb2.UserLoggedIn(id=str(number), user_id="ada"))
            except aio.AioRpcError as error:
                codes.add(error.code())
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_a_redis_that_is_away_is_unavailable():
    async with Server(connect_state("redis://127.0.0.1:1/0")) as server:
        code, said = await server.refused(LOGIN, account_pb2.UserLoggedIn(user_id="ada"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1" not in said


async def test_a_message_over_64_kibibytes_is_refused(server):
    code, _ = await server.refused(LOGIN, account_pb2.UserLoggedIn(user_id="ada", name="x" * 64 * 1024))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message_are_never_ok(server):
    code, _ = await server.refused(LOGIN, b"\xff\xff\xff")
    assert code is not grpc.StatusCode.OK
    assert server.journaled() == []


@pytest.mark.parametrize("service", ["", LOGIN.split("/")[1], STATISTIC.split("/")[1]])
async def test_health_says_serving_only_while_events_can_be_accepted(server, service):
    answers = health_pb2.HealthCheckResponse
    stub = health_pb2_grpc.HealthStub(server.channel)
    said = stub.Watch(health_pb2.HealthCheckRequest(service=service))
    while (await said.read()).status != answers.SERVING:
        pass  # NOT_SERVING until the first look

    server.ready = False
    away = await said.read()
    server.ready = True
    back = await said.read()
    server.receiver.health.end()
    stopped = await said.read()

    assert [reply.status for reply in (away, back, stopped)] == [
        answers.NOT_SERVING,
        answers.SERVING,
        answers.NOT_SERVING,
    ]


async def test_health_says_not_serving_while_readiness_cannot_be_told_and_goes_on_asking(server):
    answers = health_pb2.HealthCheckResponse
    said = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
    while (await said.read()).status != answers.SERVING:
        pass
    server.readiness_breaks = True
    away = await asyncio.wait_for(said.read(), 5)
    server.readiness_breaks = False
    back = await asyncio.wait_for(said.read(), 5)
    assert [away.status, back.status] == [answers.NOT_SERVING, answers.SERVING]


async def test_reflection_lists_the_services(server):
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    reply = await call.read()
    names = {service.name for service in reply.list_services_response.service}
    assert {LOGIN.split("/")[1], STATISTIC.split("/")[1], "grpc.health.v1.Health"} <= names


async def test_a_taken_port_is_named_with_its_setting(server, redis):
    second = Server(redis)
    with pytest.raises(ServiceFailedError) as caught:
        await second.receiver.start("127.0.0.1", server.port)
    assert str(caught.value) == (
        f"port {server.port} on 127.0.0.1 is already taken: free it, or set GRPC_PORT to another"
    )
    await second.receiver.stop(timedelta(0))
