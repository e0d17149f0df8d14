"""Sending: against an HTTP and a gRPC server that answer as the receiver may, well or badly."""

import asyncio
import time
from dataclasses import replace

import grpc
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from google.protobuf.empty_pb2 import Empty

from cli.client.messages import LOGIN_METHOD
from models.rules.goals import Rulebook
from tests.support.stack import goal
from tools.loadtest.generator import Shape, make_plan
from tools.loadtest.requests import grpc_requests, http_requests
from tools.loadtest.sender import Pace, send
from tools.loadtest.targets import GrpcTarget, HttpTarget

GOAL = goal("g", "count", "login")


def plan_of(events, **changes):
    shape = replace(Shape(events=events, users=3, tenant_id="t", platform_only=True), **changes)
    return make_plan(Rulebook((GOAL,)), shape, run="r", now=time.time_ns() // 1_000)


class Receiver:
    """An HTTP server that answers each request by the next of its answers, then accepts all."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.bodies = []
        self.times = []

    async def take(self, request):
        body = orjson.loads(await request.read())
        self.bodies.append(body)
        self.times.append(time.monotonic())
        answer = self._answers.pop(0) if self._answers else accepted(body)
        if answer == "hang up":
            request.transport.abort()
            return web.Response()
        return answer


def accepted(body):
    return web.json_response({"accepted": len(body), "rejected": []}, status=202)


def busy(after="0.05"):
    return web.json_response({"title": "busy"}, status=503, headers={"Retry-After": after})


def rejected(status, *indexes):
    rows = [{"index": index, "event_id": "x", "code": "too_old", "field": "f", "message": "m"} for index in indexes]
    return web.json_response({"accepted": 0, "rejected": rows}, status=status)


def send_to(receiver, plan, *, batch=2, **pace):
    async def run():
        app = web.Application()
        app.router.add_post("/v1/events", receiver.take)
        async with TestServer(app) as server:
            target = HttpTarget(str(server.make_url("/")), 4)
            return await send(plan, http_requests(plan, batch), target, Pace(**{"concurrency": 1} | pace))

    return asyncio.run(run())


def test_every_event_is_sent_and_noted_as_accepted():
    plan, receiver = plan_of(11), Receiver()

    report = send_to(receiver, plan, concurrency=4)

    assert (report.sent, report.accepted, report.distinct_accepted) == (11, 11, 11)
    assert sorted(row["event_id"] for body in receiver.bodies for row in body) == sorted(
        plan.event_id(index) for index in range(11)
    )
    assert len(report.latencies) == 6
    assert report.seconds > 0


def test_repeats_are_accepted_but_count_once():
    report = send_to(Receiver(), plan_of(20, duplicates=50))

    assert (report.sent, report.accepted, report.distinct_accepted) == (20, 20, 10)


def test_a_rejected_event_is_noted_by_its_place_and_code():
    plan = plan_of(4)

    report = send_to(Receiver(rejected(202, 1)), plan)

    assert dict(report.rejected) == {"too_old": 1}
    assert report.accepted == 3
    assert report.accepted_events[plan.order[1]] == 0


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (rejected(422, 0, 1), "too_old"),
        (web.Response(status=413), "http_413"),
        (web.Response(status=422), "http_422"),
    ],
)
def test_a_refused_request_refuses_all_its_events(answer, code):
    report = send_to(Receiver(answer), plan_of(4))

    assert dict(report.rejected) == {code: 2}
    assert report.distinct_accepted == 2


def test_a_busy_receiver_is_asked_again_after_the_time_it_names():
    receiver = Receiver(busy("0.2"), busy("0.2"))

    report = send_to(receiver, plan_of(2))

    assert report.busy_retries == 2
    assert report.distinct_accepted == 2
    assert receiver.times[2] - receiver.times[0] >= 0.4
    assert receiver.bodies[0] == receiver.bodies[2]
    assert report.latencies[0] >= 0.4


@pytest.mark.parametrize("answer", ["hang up", web.Response(status=500), web.Response(status=202, text="hello")])
def test_an_attempt_without_a_clear_answer_is_repeated_with_the_same_ids(answer):
    receiver = Receiver(answer)

    report = send_to(receiver, plan_of(2))

    assert report.network_retries == 1
    assert report.distinct_accepted == 2
    assert receiver.bodies[0] == receiver.bodies[1]


def test_events_without_an_answer_to_the_end_are_named():
    plan = plan_of(4)

    report = send_to(Receiver(web.Response(status=500), web.Response(status=500)), plan, patience=0.15)

    assert report.unanswered == set(plan.order[:2])
    assert report.distinct_accepted == 2
    assert report.sent == 4


def test_a_rate_is_kept_by_a_schedule_that_slow_answers_do_not_delay():
    receiver = Receiver(busy("0.3"))

    report = send_to(receiver, plan_of(50), batch=1, rate=100, concurrency=4)

    assert 0.45 <= report.seconds < 3
    assert receiver.times[-1] - receiver.times[0] >= 0.15


def grpc_send(codes, plan, **pace):
    """Send over gRPC to a server that fails with these codes first."""

    async def take(_message, context):
        if codes:
            await context.abort(codes.pop(0), "no")
        return Empty()

    async def run():
        service, method = LOGIN_METHOD.strip("/").split("/")
        handler = grpc.unary_unary_rpc_method_handler(take, response_serializer=Empty.SerializeToString)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            target = GrpcTarget(f"127.0.0.1:{port}")
            return await send(plan, grpc_requests(plan), target, Pace(**{"concurrency": 1} | pace))
        finally:
            await server.stop(None)

    return asyncio.run(run())


def test_grpc_sends_one_event_a_call():
    report = grpc_send([], plan_of(30), concurrency=8)

    assert (report.accepted, report.distinct_accepted, len(report.latencies)) == (30, 30, 30)


def test_grpc_overload_is_retried_and_invalid_is_a_rejection():
    status = grpc.StatusCode

    report = grpc_send([status.UNAVAILABLE, status.INVALID_ARGUMENT], plan_of(3))

    assert report.network_retries == 1
    assert dict(report.rejected) == {"grpc_invalid_argument": 1}
    assert report.distinct_accepted == 2
