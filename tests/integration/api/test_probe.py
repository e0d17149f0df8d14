"""The probe of the whole way: nothing is taken before one has come through, and the station where it stops is named."""

import json
import os
import sys
from datetime import timedelta
from subprocess import Popen
from typing import Any

import grpc
import httpx
import pytest

from api.health.path_probe import Pace, PathParts, PathProbe, fingerprint_of
from cli.client.ports import free_port
from config.settings import Settings
from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.grpc.server import LOGIN_SERVICE
from ingest.pipeline import IngestPipeline
from ingest.protos import account_pb2
from models.database.connection import connect_database
from models.database.fleet.histories import read_histories
from models.database.fleet.probes import ProbeReader
from models.errors import NotReadyError
from models.fleet.probes import PROBE_TENANT, probe_user
from models.state.keys import METRICS, PATH_LEASE, PATH_REPORT, seen_key, shard_keys
from tests.support.environment import database_settings
from tests.support.servers import wait_until
from tests.support.stack import SHARDS, Stack
from worker.receiver.process import build_app

pytestmark = pytest.mark.usefixtures("engine")
LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)
NOWHERE = "redis://127.0.0.1:1/0"


class Way:
    """An installation without processes: what workers and flush would do is done when the test says so."""

    def __init__(self, stack, redis_url, *, broker="", release="1", engine=None, period=timedelta(milliseconds=1)):
        self.stack = stack
        self.settings = Settings(state_url=redis_url, broker_url=broker or redis_url, shards=SHARDS)
        self.parts = PathParts(
            shards=SHARDS,
            journal=stack.journal,
            attempts=stack.attempts,
            path=stack.path,
            rows=ProbeReader(engine or stack.engine),
            fingerprint=fingerprint_of(self.settings, release),
            now_us=stack.clock,
        )
        self.probe = PathProbe(self.parts, Pace(period=period, seldom_s=0.05))

    def work(self, *shards):
        """Apply all that no worker was given yet."""
        self.stack.work(self.stack.take(*shards))

    def said(self):
        self.probe.step()
        try:
            self.probe.require_open()
        except NotReadyError as error:
            return str(error)
        return "open"

    def pass_once(self):
        """One probe the whole way."""
        self.probe.step()

        def passed():
            self.work()
            self.stack.flusher.flush()
            return self.said() == "open"

        wait_until(passed, message=self.said)


@pytest.fixture
def way(stack, redis_url):
    return Way(stack, redis_url)


def test_each_station_that_a_probe_waits_at_is_named_until_it_has_passed(way):
    with pytest.raises(NotReadyError, match=r"station journal: .* \(not tried yet\)"):
        way.probe.require_open()
    wait_until(lambda: "station worker: no worker takes the probe of shards 0, 1, 2, 3" in way.said(), message=way.said)
    way.work(0, 1)
    wait_until(lambda: "station worker: no worker takes the probe of shards 2, 3" in way.said(), message=way.said)
    way.work()
    wait_until(lambda: "station flush: the probe of shards 0, 1, 2, 3 is applied" in way.said(), message=way.said)
    way.stack.flusher.flush()
    wait_until(lambda: way.said() == "open", message=way.said)
    way.probe.require_applied()
    way.probe.require_flushed(timedelta())


def test_a_probe_leaves_no_trace_among_events(way, redis):
    way.pass_once()
    way.stack.metrics.push()
    for table in ("events", "evaluations", "unlocks", "user_goal_progress", "dead_letters"):
        assert way.stack.count(table) == 0, table
    assert way.stack.count("probes") == SHARDS
    assert not redis.hgetall(METRICS)
    assert not any(redis.exists(shard_keys(shard).counts) for shard in range(SHARDS))
    assert not any(redis.exists(shard_keys(shard).dirty) for shard in range(SHARDS))


def test_a_probe_is_none_of_the_events_that_a_store_which_goes_back_may_have_lost(way):
    way.pass_once()
    way.stack.post(way.stack.event(user="u1"))
    way.stack.flusher.flush()
    told = way.stack.histories.read(range(SHARDS)).values()
    assert sum(history.flushed_events for history in told) == 1
    assert sum(history.flushed_events for history in read_histories(way.stack.engine, range(SHARDS)).values()) == 1


def test_a_probe_beside_events_takes_nothing_from_them(way):
    way.probe.step()
    way.stack.accept(way.stack.event(user="u1"), way.stack.event(user="u2"))
    way.work()
    way.stack.flusher.flush()
    assert way.stack.count("events") == 2
    assert way.stack.rows("u1")["logins", ""] == (1, False)
    assert sum(int(way.stack.redis.hget(shard_keys(shard).counts, "applied") or 0) for shard in range(SHARDS)) == 2


def test_a_success_is_remembered_by_the_settings_it_holds_for(way, redis_url):
    way.pass_once()
    assert Way(way.stack, redis_url).said() == "open"
    assert Way(way.stack, redis_url, release="2").said() != "open"
    fingerprint = way.parts.fingerprint
    changed = way.settings.model_copy(update={"db_password": "another"})
    assert fingerprint_of(changed, "1") == fingerprint
    for other in ({"shards": 8}, {"state_url": NOWHERE}, {"broker_url": NOWHERE}, {"db_name": "other"}):
        assert fingerprint_of(way.settings.model_copy(update=other), "1") != fingerprint


def test_a_resize_while_a_probe_is_looked_at_lets_no_other_number_of_shards_pass(way, monkeypatch):
    way.probe.step()
    way.work()
    way.stack.flusher.flush()
    look = type(way.stack.path).statuses

    def resized_meanwhile(path, batches):
        way.probe.resize(SHARDS + 1, "another")
        return look(path, batches)

    monkeypatch.setattr(type(way.stack.path), "statuses", resized_meanwhile)
    wait_until(lambda: way.said() == "open", message=way.said)
    assert way.stack.path.has_passed(way.parts.fingerprint)
    assert not way.stack.path.has_passed("another")


def test_what_was_resized_is_tried_at_once_so_that_a_start_soon_after_finds_it_remembered(stack, redis_url):
    way = Way(stack, redis_url, period=timedelta(hours=1))
    way.pass_once()
    way.probe.resize(SHARDS, "another")

    def remembered():
        way.probe.step()
        way.work()
        way.stack.flusher.flush()
        return way.parts.path.has_passed("another")

    wait_until(remembered, message=way.said)


def test_a_receiver_that_reads_another_database_is_not_open(stack, redis_url, database_url):
    elsewhere = connect_database(database_url.rpartition("@")[0] + f"@127.0.0.1:{free_port()}/none")
    way = Way(stack, redis_url, engine=elsewhere)
    way.probe.step()
    way.work()
    stack.flusher.flush()
    wait_until(lambda: "station database" in way.said(), message=way.said)


def test_postgresql_away_closes_nothing_that_has_been_open(way):
    way.pass_once()
    way.stack.clock.advance(seconds=1)
    wait_until(lambda: way.said() == "open" and way.stack.journal.states(SHARDS)[0].ready_ms)
    way.work()  # and nothing is flushed
    wait_until(lambda: b'"flush"' in (way.said() and way.stack.redis.get(PATH_REPORT)))
    way.stack.clock.advance(minutes=10)
    way.probe.require_open()
    way.probe.require_applied()
    with pytest.raises(NotReadyError, match="station flush"):
        way.probe.require_flushed(timedelta(seconds=30))


def test_workers_that_stay_away_make_the_receiver_not_ready_and_close_nothing(way):
    way.pass_once()
    way.stack.clock.advance(seconds=1)
    wait_until(lambda: way.said() == "open" and way.stack.journal.states(SHARDS)[0].ready_ms)
    wait_until(lambda: b'"worker"' in (way.said() and way.stack.redis.get(PATH_REPORT)))
    way.probe.require_applied()  # a restart of workers takes a while
    way.stack.clock.advance(minutes=2)
    with pytest.raises(NotReadyError, match="station worker: no worker takes the probe of shards 0, 1, 2, 3"):
        way.probe.require_applied()
    way.probe.require_open()
    way.pass_once()
    wait_until(lambda: _is_clear(way), message=way.said)


def _is_clear(way):
    way.work()
    way.stack.flusher.flush()
    way.said()
    return not json.loads(way.stack.redis.get(PATH_REPORT))["station"]


def test_ids_of_probes_do_not_gather(way, redis):
    for _ in range(5):
        way.stack.clock.advance(seconds=1)
        way.pass_once()
        wait_until(lambda: _is_clear(way))
    for key in redis.scan_iter("ql:*:seen:*"):
        assert redis.scard(key) <= 2, key
    assert redis.exists(seen_key(0, f"{PROBE_TENANT}:{probe_user(0, SHARDS)}", _dedup_bucket(redis)))


def _dedup_bucket(redis):
    [key] = redis.scan_iter("ql:{s00}:seen:*")
    return int(key.rpartition(b":")[2])


def test_a_probe_that_got_lost_is_sent_again(way, redis):
    way.probe.step()
    redis.flushall()
    way.stack.clock.advance(minutes=1)
    wait_until(lambda: way.said() and way.stack.journal.states(SHARDS)[0].ready_ms)
    way.pass_once()


def test_a_full_journal_keeps_a_new_installation_closed(engine, redis, redis_url):
    way = Way(Stack(redis, engine, max_bytes=40), redis_url)
    assert "station journal: the journal does not take the probe of shards 0, 1, 2, 3 (it is full)" in way.said()


def test_one_of_two_receivers_sends_probes_and_both_know_what_came_of_them(way, redis_url):
    way.pass_once()
    wait_until(lambda: way.said() == "open" and way.stack.redis.exists(PATH_LEASE))
    other = Way(way.stack, redis_url)
    assert other.said() == "open"
    way.stack.clock.advance(minutes=5)
    wait_until(lambda: way.said() == "open" and way.stack.journal.states(SHARDS)[0].ready_ms)
    waiting = sum(state.batches for state in way.stack.journal.states(SHARDS))
    wait_until(lambda: b'"worker"' in (way.said() and way.stack.redis.get(PATH_REPORT)))
    way.stack.clock.advance(minutes=5)

    def other_knows():
        other.said()
        with pytest.raises(NotReadyError, match="station worker"):
            other.probe.require_applied()
        return True

    wait_until(other_knows)
    assert sum(state.batches for state in way.stack.journal.states(SHARDS)) == waiting == SHARDS


def test_a_probe_that_breaks_its_worker_is_no_dead_letter(way, monkeypatch):
    def broken(*_args, **_options):
        raise ValueError("rules that break")

    way.probe.step()
    monkeypatch.setattr(type(way.stack.records), "apply", broken)
    way.work()
    for _ in range(4):
        way.stack.try_again()
    assert way.stack.count("dead_letters") == 0


def test_what_a_worker_cannot_apply_is_told_with_its_last_error(way):
    way.probe.step()
    away = connect_database("postgresql://nobody:x@127.0.0.1:1/none")
    way.stack.reader._engine = away
    way.work()
    wait_until(lambda: "station apply" in way.said() and "PostgreSQL does not answer" in way.said(), message=way.said)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_events_are_refused_as_not_ready_while_the_way_is_closed(stack):
    class Closed:
        def require_open(self):
            raise NotReadyError("no event can go the whole way yet: station worker")

    event = {"event_id": "1", "event_type": "login", "user_id": "ada"}
    committer = GroupCommitter(stack.journal.append, stack.metrics, LIMITS)
    pipeline = IngestPipeline(committer, stack.metrics, max_lateness=timedelta(days=7), gate=Closed())
    transport = httpx.ASGITransport(build_app(pipeline, AgsReader(None)))
    async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
        answer = await client.post("/v1/events", json=event)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:questline:problem:not-ready")
    assert "station worker" in answer.json()["detail"]
    assert answer.headers["Retry-After"]
    with pytest.raises(NotReadyError):
        await pipeline.reingest([stack.event()])


def test_a_receiver_without_workers_refuses_events_by_both_ways_in(redis, redis_url, database_url, tmp_path):
    ports = {name: free_port() for name in ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT")}
    settings = {
        **{name: str(port) for name, port in ports.items()},
        **database_settings(database_url),
        "BROKER_URL": redis_url,
        "QUESTLINE_DATA_DIR": str(tmp_path),
    }
    url, log = f"http://127.0.0.1:{ports['HTTP_PORT']}", tmp_path / "receiver.log"
    with log.open("wb") as output:
        process = Popen([sys.executable, "-m", "cli", "receiver"], env={**os.environ, **settings}, stderr=output)
    try:
        wait_until(lambda: "receiver_started" in log.read_text(), seconds=60, message=log.read_text)
        event = {"event_id": "1", "event_type": "login", "user_id": "ada"}
        refused = httpx.post(f"{url}/v1/events", json=event, timeout=20)
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:questline:problem:not-ready")
        wait_until(lambda: "station worker" in httpx.get(f"{url}/readyz", timeout=20).json()["checks"]["path"])
        assert httpx.get(f"{url}/readyz", timeout=20).status_code == 503
        message = account_pb2.UserLoggedIn(id="1", user_id="ada")
        with grpc.insecure_channel(f"127.0.0.1:{ports['GRPC_PORT']}") as channel:
            method: Any = channel.unary_unary  # its stub wants serializers
            with pytest.raises(grpc.RpcError, match="station worker") as refusal:
                method(f"/{LOGIN_SERVICE}/OnMessage")(message.SerializeToString(), timeout=20)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not any(redis.exists(shard_keys(shard).log) for shard in range(16))
    finally:
        process.terminate()
        assert process.wait(20) == 0
