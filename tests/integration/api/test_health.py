"""Health: what /healthz, /readyz and the gRPC health service say, on servers that are away or refuse."""

import asyncio
from contextlib import contextmanager
from datetime import timedelta
from threading import Event

import grpc
import pytest
from anyio.to_thread import current_default_thread_limiter
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from httpx import ASGITransport, AsyncClient

from api.health.checks import Backlog, make_backlog, receiver_checks
from api.health.readiness import FRESH_SECONDS, OK, ReadinessProbe
from api.health.routes import health_router
from cli.client.ports import free_port
from config.settings import Settings
from ingest.grpc.health import GrpcHealth
from ingest.grpc.unauthenticated import ConcurrencyLimiter
from models.database.checks.suitability import database_probe
from models.database.connection import connect_database
from models.errors import AWAY, NotReadyError, StateUnavailableError
from models.state.checks.answers import write_probe
from models.state.connection import connect_state
from models.state.keys import shard_keys
from tests.support.docs import code, table
from tests.support.servers import embedded_redis
from tests.support.stack import SHARDS
from web.application import make_application


def ask(readiness, path="/readyz", **options):
    app = make_application([health_router(readiness, **options)])

    async def get():
        async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
            return await client.get(path)

    answer = asyncio.run(get())
    return answer.status_code, answer.json()


def fine():
    return None


def gone():
    raise StateUnavailableError("connecting to 10.0.0.7:6379 as admin with hunter2")


def test_readiness_says_what_is_wrong_by_dependency_and_nothing_of_the_inside():
    ready = ask(ReadinessProbe({"state": fine}, {"database": fine}))
    degraded = ask(ReadinessProbe({"state": fine}, {"database": gone}))
    unavailable = ask(ReadinessProbe({"state": gone}, {"database": fine}))

    assert ready == (200, {"status": "ready", "checks": {"state": OK, "database": OK}})
    assert degraded == (200, {"status": "degraded", "checks": {"state": OK, "database": AWAY}})
    assert unavailable == (503, {"status": "unavailable", "checks": {"state": AWAY, "database": OK}})


def test_readiness_and_errors_are_told_while_all_threads_of_requests_wait():
    app, waiting, go_on = make_application([health_router(ReadinessProbe({"state": fine}, {}))]), [], Event()

    @app.get("/wait")
    def wait():
        waiting.append(1)
        go_on.wait(20)

    async def ask_beside(threads):
        async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
            held = [asyncio.create_task(client.get("/wait")) for _ in range(threads)]
            while len(waiting) < threads:
                await asyncio.sleep(0.01)
            try:
                answers = [await asyncio.wait_for(client.get(path), 5) for path in ("/readyz", "/nowhere")]
                return [answer.status_code for answer in answers]
            finally:
                go_on.set()
                await asyncio.gather(*held)

    async def with_all_threads():
        return await ask_beside(int(current_default_thread_limiter().total_tokens))

    assert asyncio.run(with_all_threads()) == [200, 404]


def test_a_process_that_stops_is_alive_but_not_ready_and_asks_nobody():
    asked = []
    readiness = ReadinessProbe({"state": lambda: asked.append(1)}, {})

    stopping = Event()
    stopping.set()
    assert ask(readiness, stopping=stopping) == (503, {"status": "unavailable", "checks": {"process": "stopping"}})
    assert ask(readiness, "/healthz", stopping=stopping) == (200, {"status": "ok"})
    assert asked == []


def broken():
    raise RuntimeError("a fault of ours")


def test_a_fault_of_a_check_itself_is_not_ready_and_not_shown():
    status, said = ask(ReadinessProbe({"state": broken}, {}))
    assert (status, said["checks"]) == (503, {"state": "cannot be checked"})


def test_servers_are_asked_once_a_second_however_often_readiness_is():
    now, asked = [100.0], []
    readiness = ReadinessProbe({"state": lambda: asked.append(now[0])}, {}, clock=lambda: now[0])

    for _ in range(5):
        assert readiness.is_ready()
    now[0] += FRESH_SECONDS
    assert readiness.is_ready()

    assert asked == [100.0, 101.0]


def test_a_server_that_hangs_holds_nobody_and_is_asked_by_one_thread_only(monkeypatch):
    monkeypatch.setattr("api.health.readiness.PATIENCE_SECONDS", 0.05)
    asked, answered = [], Event()

    def hang():
        asked.append(1)
        answered.wait(20)

    readiness = ReadinessProbe({"state": fine}, {"database": hang})
    said = [readiness.answers()["database"] for _ in range(3)]
    answered.set()

    assert said == [AWAY] * 3
    assert asked == [1]


@contextmanager
def configured(redis, **values):
    """A Redis whose configuration is another one for a while."""
    names = {name.replace("_", "-"): value for name, value in values.items()}
    before = {name: redis.config_get(name)[name] for name in names}
    for name, value in names.items():
        redis.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            redis.config_set(name, value)


def refusal(probe, *arguments):
    with pytest.raises(NotReadyError) as caught:
        probe(*arguments)
    return str(caught.value)


def test_a_redis_that_answers_but_takes_no_writes_is_not_ready(redis):
    write_probe(redis)
    with configured(redis, maxmemory=1, maxmemory_policy="noeviction"):
        assert refusal(write_probe, redis) == "takes no writes: it is at its maxmemory"
    with configured(redis, min_replicas_to_write=9):
        assert refusal(write_probe, redis) == "takes no writes: it has too few replicas"
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        assert refusal(write_probe, redis) == "takes no writes: it is a replica"
    finally:
        redis.execute_command("REPLICAOF", "NO", "ONE")
    write_probe(redis)


def test_a_redis_with_another_password_or_none_at_all_is_told_apart(tmp_path):
    with embedded_redis(tmp_path / "redis") as url:
        secret = url.split("@")[0].rpartition(":")[2]
        stranger = connect_state(url.replace(secret, "wrong"))
        assert refusal(write_probe, stranger) == "refuses our password"
        nameless = connect_state(url.replace(f":{secret}@", ""))
        assert refusal(write_probe, nameless) == "refuses our password"
    assert refusal(write_probe, connect_state(url)) == AWAY


def test_a_postgresql_that_is_away_shows_neither_address_nor_user():
    engine = connect_database(f"postgresql://nobody:hunter2@127.0.0.1:{free_port()}/none")
    _, said = ask(ReadinessProbe({"database": lambda: database_probe(engine)}, {}))
    assert said["checks"] == {"database": AWAY}


def test_the_health_page_lists_what_readiness_asks(stack):
    settings = Settings(journal_replicas=1)
    of_other_parts = {"commit", "keys", "path", "memory"}  # worker/receiver/composition.py
    needed, useful = receiver_checks(settings, stack.engine, {}, make_backlog(settings, stack.records, stack.clock))
    rows = {code(row[0]) for row in table("docs/reference/health-checks.md", "Health checks")}
    assert rows == {*needed, *useful} | of_other_parts


@pytest.fixture
def backlog(stack):
    """What waits in the stack's shards, with its clock."""
    settings = Settings(shards=SHARDS, journal_max_bytes=65536, dirty_max_users=4 * SHARDS)
    return Backlog(settings, stack.redis, stack.records, stack.clock)


def test_a_backlog_within_its_bounds_is_no_fault(stack, backlog):
    stack.accept(stack.event("login"))
    stack.post(stack.event("login", "u2"))
    for check in (backlog.journal, backlog.shards, backlog.workers, backlog.flush):
        check()


def test_one_full_shard_is_named_and_only_when_all_are_full_nothing_is_accepted(stack, backlog):
    stack.redis.set(shard_keys(2).log_bytes, 65536 // SHARDS)
    assert refusal(backlog.shards) == "full: shard 2; requests with events of these shards are refused"
    backlog.journal()

    for shard in range(SHARDS):
        stack.redis.set(shard_keys(shard).journal_bytes, 65536 // SHARDS)
    assert refusal(backlog.journal).startswith("full:")


def test_a_shard_with_too_many_unwritten_users_is_full(stack, backlog):
    stack.redis.zadd(shard_keys(1).dirty, {f"t:u{number}": number for number in range(4)})
    assert refusal(backlog.shards).startswith("full: shard 1;")


def test_batches_that_nobody_takes_and_changes_that_nobody_writes_are_said(stack, backlog):
    (batch,) = stack.accept(stack.event("login"))
    stack.clock.advance(seconds=61)
    assert refusal(backlog.workers) == f"no worker takes the batches of shard {batch.shard}"
    stack.clock.advance(minutes=15)
    assert refusal(backlog.shards).startswith(f"full: shard {batch.shard};")

    stack.apply(batch)
    backlog.workers()
    stack.clock.advance(seconds=40)
    assert refusal(backlog.flush) == "changes wait for PostgreSQL for 40 s"
    stack.flusher.flush()
    backlog.flush()


async def _told_until(said, status):
    while (await said.read()).status != status:
        pass


def test_grpc_health_follows_the_state_redis(tmp_path, stack, database_url):
    answers = health_pb2.HealthCheckResponse

    async def watch(url, stop_redis):
        settings = Settings(state_url=url, broker_url=url, shards=SHARDS)
        engine = connect_database(database_url)
        readiness = ReadinessProbe(
            *receiver_checks(settings, engine, {}, make_backlog(settings, stack.records, stack.clock))
        )
        streams = ConcurrencyLimiter(1, timedelta(minutes=1), late=grpc.StatusCode.UNAVAILABLE)
        server, health = aio.server(), GrpcHealth(["a.Service"], timedelta(seconds=10), streams)
        health.add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        following = asyncio.create_task(health.follow(readiness, interval_s=0.05))
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = health_pb2.HealthCheckRequest(service="a.Service")
            said = health_pb2_grpc.HealthStub(channel).Watch(request, timeout=30)
            await _told_until(said, answers.SERVING)
            await asyncio.to_thread(stop_redis)
            await _told_until(said, answers.NOT_SERVING)
        following.cancel()
        await server.stop(None)
        engine.dispose()

    with embedded_redis(tmp_path / "redis") as url:
        asyncio.run(watch(url, lambda: connect_state(url).shutdown(nosave=True)))
