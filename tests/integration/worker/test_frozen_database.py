"""PostgreSQL stands still: who needs it is told so soon, and who does not need it notices nothing."""

import asyncio
import time
from contextlib import contextmanager, suppress
from datetime import timedelta

import httpx
import pytest

from api.attributes import attributes_router
from api.health.history_check import HistoryCheck
from api.progress.routes import progress_router
from config.settings import Settings
from ingest.accelbyte import AgsReader
from ingest.pipeline import IngestPipeline
from models.database.connection import connect_database, database_errors
from models.errors import DatabaseUnavailableError, StateUnavailableError
from models.failpoints import now_us
from models.state.keys import shard_keys
from tests.conftest import _migrated
from tests.support.environment import database_settings
from tests.support.servers import embedded_postgres, wait_until
from tests.support.stack import SHARDS, Stack
from tools.chaos.processes import freeze, thaw
from worker.receiver.composition import make_receiver_parts
from worker.receiver.process import build_app
from worker.wiring import read_challenges

pytestmark = pytest.mark.slow

COLD = 80


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A migrated PostgreSQL that only this file uses: its URL and the pid of its first process."""
    folder = tmp_path_factory.mktemp("frozen")
    with embedded_postgres(folder) as url:
        _migrated(url)
        yield url, int((folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


@contextmanager
def frozen(pid):
    family = freeze(pid)
    try:
        yield
    finally:
        thaw(family)


@pytest.fixture
def parts(redis, redis_url, own):
    """The receiver's parts over it, with one user in Redis."""
    told = database_settings(own[0]) | {"STATE_URL": redis_url, "SHARDS": str(SHARDS)}
    settings = Settings.model_validate({name.lower(): value for name, value in told.items()})
    made = make_receiver_parts(settings, read_challenges(settings))
    made.watcher.refresh()
    made.keys.refresh()
    engine = connect_database(own[0])
    stack = Stack(redis, engine)
    stack.clock.now = now_us()
    stack.post(stack.event("login", user="warm"))
    yield made
    engine.dispose()


def client_of(parts):
    pipeline = IngestPipeline(parts.committer, parts.metrics, max_lateness=timedelta(days=7))
    routers = [
        progress_router(parts.progress, parts.threads),
        attributes_router(parts.attributes, parts.threads),
        parts.dead_letters,
    ]
    transport = httpx.ASGITransport(build_app(pipeline, AgsReader(None), routers), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://receiver")


async def timed(client, path):
    begin = time.monotonic()
    answer = await client.get(path, timeout=60)
    return answer.status_code, time.monotonic() - begin


async def _asked(parts, paths):
    """Answers of these paths, all at once, and of a user in Redis, again and again meanwhile."""
    async with client_of(parts) as client:
        assert (await timed(client, "/v1/users/warm/progress?tenant_id=t1"))[0] == 200
        asking = [asyncio.create_task(timed(client, path)) for path in paths]
        warm = []
        while not all(task.done() for task in asking):
            warm.append(await timed(client, "/v1/users/warm/progress?tenant_id=t1"))
            await asyncio.sleep(0.1)
        return [task.result() for task in asking], warm


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/cold-{}/progress?tenant_id=t1",
        "/v1/users/cold-{}/attributes?tenant_id=t1",
        "/v1/dead-letters?limit={}",
    ],
)
def test_reads_that_need_it_are_refused_soon_and_others_answered(parts, own, path):
    with frozen(own[1]):
        cold, warm = asyncio.run(_asked(parts, [path.format(number + 1) for number in range(COLD)]))
    assert {status for status, _ in cold} == {503}
    limit = 25 if "dead-letters" in path else 12
    assert max(length for _, length in cold) < limit
    assert len(warm) > 3
    assert {status for status, _ in warm} == {200}
    assert max(length for _, length in warm) < 1


def test_the_readiness_says_so_and_the_keys_hold_on(parts, own):
    with frozen(own[1]):
        answers = parts.readiness.answers()
        assert answers["database"] == "does not answer"
        assert answers["keys"] == answers["history"] == "ok"  # so that events are taken all the same
        with pytest.raises(DatabaseUnavailableError):
            parts.keys.refresh()
    wait_until(lambda: parts.readiness.answers()["database"] == "ok", seconds=30)


def test_a_wait_ends_although_no_timeout_of_the_server_can(own):
    engine = connect_database(own[0], statement_timeout=timedelta(milliseconds=300))
    begin = time.monotonic()
    with engine.connect() as connection, frozen(own[1]), pytest.raises(DatabaseUnavailableError, match="no answer"):
        _ask(connection)
    assert time.monotonic() - begin < 5
    with engine.connect() as connection:
        _ask(connection)
    engine.dispose()


def _ask(connection):
    with database_errors():
        connection.exec_driver_sql("SELECT 1")


def test_a_redis_that_fails_while_the_look_at_both_stores_waits_fails_that_look_alone(redis, own):
    check = HistoryCheck(redis, connect_database(own[0]), lambda: SHARDS)
    check()
    key = shard_keys(0).history
    with frozen(own[1]):
        check()  # what was known holds; the look goes on
        redis.set(key, "foreign")
    wait_until(lambda: check._under_way is not None and check._under_way.done())
    redis.delete(key)

    def passes():
        with suppress(StateUnavailableError):
            check()
            return True
        return False

    wait_until(passes)
