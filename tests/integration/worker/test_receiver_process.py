"""The receiver as a process of its own: ports, signals, and what it holds when it is told to stop."""

import asyncio
import os
import signal
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from subprocess import PIPE, Popen
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from api.health.readiness import ReadinessProbe
from cli.client.ports import free_port
from config.settings import Settings
from ingest.grpc.server import LOGIN_SERVICE
from ingest.pipeline import IngestPipeline
from ingest.protos import account_pb2
from models.errors import ServiceFailedError
from models.state.metrics import Metrics
from models.state.queue.batches import Appended
from tests.support.journal import journaled_events
from tests.support.servers import wait_until
from tests.support.stack import SHARDS as STACK_SHARDS
from tests.support.stack import Clock, Stack
from web.server.server import listen
from worker.receiver.process import Receiver, make_committer

pytestmark = pytest.mark.slow

SHARDS = 16
PROGRAM = textwrap.dedent("""
    import asyncio

    from api.health.routes import health_router
    from api.health.readiness import ReadinessProbe
    from config.settings import Settings
    from ingest.pipeline import IngestPipeline
    from models.state.connection import connect_state
    from models.state.queue.journal import Journal, JournalBounds
    from models.state.metrics import Metrics
    from threading import Event
    from worker.receiver.process import Receiver, make_committer

    settings = Settings()
    redis = connect_state(settings.state)
    journal = Journal(redis, shards=settings.shards, bounds=JournalBounds(settings.journal_max_bytes),
                      retry_after=settings.journal_retry_after)
    stopping = Event()
    metrics = Metrics(redis)
    committer = make_committer(settings, journal.append, metrics)
    commit = committer.commit

    async def held(events):
        committing = asyncio.ensure_future(commit(events))
        await asyncio.sleep(0)  # the committer has them now
        print("held", flush=True)
        await committing

    committer.commit = held
    Receiver(settings=settings, committer=committer, readiness=ReadinessProbe({}, {}),
             pipeline=IngestPipeline(committer, metrics, max_lateness=settings.max_lateness),
             routers=[health_router(ReadinessProbe({}, {}), stopping=stopping)],
             stopping=stopping).run()
""")


class Process:
    """A receiver with a linger so long that only the end of the process writes what it holds."""

    def __init__(self, redis_url: str, *, linger: str, shards: int = SHARDS) -> None:
        self.http, self.grpc = free_port(), free_port()
        settings = {
            "STATE_URL": redis_url,
            "HTTP_PORT": str(self.http),
            "GRPC_PORT": str(self.grpc),
            "COMMIT_LINGER": linger,
            "SHARDS": str(shards),
        }
        command = [sys.executable, "-c", PROGRAM]
        self.process = Popen(command, env={**os.environ, **settings}, stdout=PIPE, text=True)
        wait_until(self._listens)

    def _listens(self) -> bool:
        assert self.process.poll() is None
        try:
            httpx.get(f"http://127.0.0.1:{self.http}/openapi.json", timeout=5)
        except httpx.TransportError:
            return False
        return True

    def wait_until_held(self, requests: int) -> None:
        """Return once so many requests more wait for the linger to end."""
        assert self.process.stdout is not None
        while requests:
            line = self.process.stdout.readline()
            assert line, "the receiver has ended"
            requests -= line == "held\n"

    def post(self, number: int) -> httpx.Response:
        event = {"event_id": f"h{number}", "event_type": "login", "user_id": f"user-{number}"}
        return httpx.post(f"http://127.0.0.1:{self.http}/v1/events", json=event, timeout=30)

    def call(self, number: int) -> Any:
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            message = account_pb2.UserLoggedIn(id=f"g{number}", user_id="ada")
            method: Any = channel.unary_unary  # its stub asks for serializers, which gRPC does without
            return method(f"/{LOGIN_SERVICE}/OnMessage")(message.SerializeToString(), timeout=30)


@pytest.fixture
def start(redis_url):
    started = []

    def _start(linger, **options):
        started.append(Process(redis_url, linger=linger, **options))
        return started[-1]

    yield _start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


def journaled(redis: Any) -> set[str]:
    return {event.event_id for event in journaled_events(redis, SHARDS)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_after_what_it_held_was_written_and_answered(redis, start, number):
    receiver = start("4s")
    with ThreadPoolExecutor(8) as pool:
        posts = [pool.submit(receiver.post, one) for one in range(4)]
        calls = [pool.submit(receiver.call, one) for one in range(4)]
        receiver.wait_until_held(8)
        assert journaled(redis) == set()
        receiver.process.send_signal(number)
        assert [one.result().status_code for one in posts] == [202] * 4
        assert [one.result() for one in calls] == [b""] * 4
    assert receiver.process.wait(timeout=15) == 0
    assert journaled(redis) == {f"{kind}{one}" for kind in "hg" for one in range(4)}


def test_a_receiver_that_stops_says_so_to_balancers_and_still_takes_events(redis, start):
    receiver = start("5ms")
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
        receiver.process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        )
        answer = receiver.post(1)
        assert answer.status_code == 202
        assert answer.headers["connection"] == "close"
        ready = httpx.get(f"http://127.0.0.1:{receiver.http}/readyz", timeout=5)
        assert (ready.status_code, ready.json()["checks"]) == (503, {"process": "stopping"})
    assert receiver.process.wait(timeout=15) == 0
    assert journaled(redis) == {"h1"}


def test_a_second_signal_hastens_the_end_and_loses_nothing_that_is_held(redis, start):
    receiver = start("3s")
    with ThreadPoolExecutor(1) as pool:
        post = pool.submit(receiver.post, 1)
        receiver.wait_until_held(1)
        began = time.monotonic()
        receiver.process.send_signal(signal.SIGTERM)
        receiver.process.send_signal(signal.SIGINT)
        assert receiver.process.wait(timeout=15) == 0
        assert time.monotonic() - began < 2.5
        with suppress(httpx.TransportError):  # who hastens the end accepts that callers are cut off
            post.result()
    assert journaled(redis) == {"h1"}


def test_what_was_answered_before_a_sigkill_counts_once_and_what_was_not_is_sent_again(start, redis, engine):
    stack = Stack(redis, engine, clock=Clock(time.time_ns() // 1000))
    receiver = start("1s", shards=STACK_SHARDS)
    with ThreadPoolExecutor(1) as pool:
        assert receiver.post(1).status_code == 202
        held = pool.submit(receiver.post, 2)
        receiver.wait_until_held(2)
        receiver.process.kill()
        with pytest.raises(httpx.TransportError):
            held.result()
    assert receiver.process.wait(timeout=15) == -signal.SIGKILL
    again = start("5ms", shards=STACK_SHARDS)
    assert [again.post(number).status_code for number in (1, 2)] == [202] * 2
    stack.catch_up_work()
    stack.flusher.flush()
    assert stack.count("events") == 2
    assert [stack.rows(f"user-{number}", "default")["logins", ""] for number in (1, 2)] == [(1, False)] * 2


def test_answers_say_nothing_about_the_server(redis, start):
    answer = start("5ms").post(1)
    assert answer.status_code == 202
    assert "server" not in answer.headers
    assert journaled(redis) == {"h1"}


def _nothing(*_call: Any) -> Appended:
    return Appended([])


@pytest.mark.parametrize("setting", ["HTTP_PORT", "GRPC_PORT"])
def test_a_taken_port_is_one_line_with_the_port_and_the_setting(redis, setting):
    with listen("127.0.0.1", 0, setting) as taken:
        port = taken.getsockname()[1]
        ports = {"http_port": free_port(), "grpc_port": free_port(), setting.lower(): port}
        settings, metrics = Settings(**ports), Metrics(redis)
        committer = make_committer(settings, lambda *_: Appended([]), metrics)
        with pytest.raises(ServiceFailedError) as caught:
            asyncio.run(
                Receiver(
                    settings=settings,
                    committer=committer,
                    pipeline=IngestPipeline(committer, metrics, max_lateness=settings.max_lateness),
                    readiness=ReadinessProbe({}, {}),
                ).serve()
            )
    assert str(caught.value) == f"port {port} on 127.0.0.1 is already taken: free it, or set {setting} to another"
