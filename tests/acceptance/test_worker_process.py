"""``questline worker`` as a process: how it starts, stops, dies, and what it tells Flower."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from threading import Thread
from typing import Any

import psutil
import pytest

from config.shards import MAINTENANCE_QUEUE
from tests.cluster.crowd import Crowd
from tests.cluster.installation import Installation, environment_of
from tests.cluster.nodes import LocalRedis
from tests.support.servers import wait_until
from tests.support.stack import Stack
from worker.wiring import build_runtime, read_challenges

SHARDS_0_1 = ("worker", "--shards", "0-1")


@pytest.fixture
def environment(redis, redis_url, engine, database_url, tmp_path):
    """Settings of an installation on empty servers. Its journal waits long: nothing but the worker itself acts."""
    return environment_of(redis_url, database_url, tmp_path / "data", JOURNAL_RETRY_AFTER="5m")


@pytest.fixture
def crowd(installation):
    return Crowd.of(installation)


def _waits_for_us(installation):
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'questline-worker'"
    )
    return installation.query(waiting) == [(1,)]


def _alive(processes):
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_redis_at_its_limit_gets_room_though_no_message_reaches_a_worker(redis, engine, start):
    stack = Stack(redis, engine)
    for user in range(300):
        stack.post(stack.event(user=f"u{user}"))
    stack.flusher.flush()
    redis.config_set("maxmemory", redis.info("memory")["used_memory"])
    try:
        start("worker", "--maintenance")
        wait_until(lambda: len(list(redis.scan_iter("*:u:*"))) < 200)
        assert stack.count("user_goal_progress") == 600
    finally:
        redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("whole_group", [False, True], ids=["SIGTERM", "Ctrl-C"])
def test_a_worker_told_to_stop_finishes_its_batch_and_leaves_the_next_one(installation, crowd, start, whole_group):
    worker = start(*SHARDS_0_1)
    worker.ready()
    family = worker.children()
    first, second = crowd.batches(2, shards=[0], size=1)[:2]
    with installation.database_held():
        installation.accept([first])
        wait_until(lambda: _waits_for_us(installation))
        installation.accept([second])
        if whole_group:  # as a terminal does
            os.killpg(worker.attrs["State"]["Pid"], signal.SIGINT)
        else:
            worker.kill("SIGTERM")
        wait_until(lambda: "Warm shutdown" in worker.logs(), message=worker.logs)
        assert worker.status == "running"
    assert worker.wait() == 0, worker.logs()
    assert _alive(family) == []
    assert (installation.journaled(), installation.queued(), installation.held()) == (1, 1, [])


@pytest.mark.parametrize("arguments", [SHARDS_0_1, ("worker", "--maintenance"), ("beat",)], ids=lambda given: given[-1])
def test_an_idle_process_ends_at_once_and_well(redis, start, arguments):
    process = start(*arguments)
    process.ready()
    if arguments == ("beat",):  # it is ready when it ticks
        wait_until(lambda: redis.llen(MAINTENANCE_QUEUE) > 0, message=process.logs)
    family = process.children()
    began = time.monotonic()
    process.kill("SIGTERM")
    assert process.wait() == 0, process.logs()
    assert time.monotonic() - began < 10
    assert _alive(family) == []


def test_a_killed_worker_leaves_no_child_behind(start):
    worker = start(*SHARDS_0_1)
    worker.ready()
    family = worker.children()
    assert family
    os.kill(worker.attrs["State"]["Pid"], signal.SIGKILL)
    worker.wait()
    wait_until(lambda: _alive(family) == [], message=lambda: str(family))


def test_a_killed_child_is_replaced_and_its_batch_applied_without_the_sweep(installation, crowd, start):
    worker = start(*SHARDS_0_1)
    worker.ready()
    with installation.database_held():
        crowd.send(20, shards=[0])
        wait_until(lambda: _waits_for_us(installation))
        [child] = [process for process in worker.children() if not process.children()]
        child.kill()
    wait_until(lambda: installation.journaled() == 0, message=worker.logs)
    assert worker.status == "running"
    runtime = build_runtime(installation.settings, installation.app, read_challenges(installation.settings))
    try:
        runtime.flusher.flush()
    finally:
        runtime.watcher.stop()
        runtime.metrics.stop()
    crowd.assert_exact()


def test_a_worker_that_starts_before_its_servers_waits_for_them(database_url, tmp_path, start):
    server = LocalRedis(tmp_path / "late")
    server.stop()
    worker = start(*SHARDS_0_1, STATE_URL=server.url, BROKER_URL=server.url)
    wait_until(lambda: "Trying again" in worker.logs(), message=worker.logs)
    server.start()
    worker.ready()
    late = Installation({**environment_of(server.url, database_url)})
    Crowd.of(late).send(20, shards=[0, 1])
    wait_until(lambda: late.journaled() == 0, message=worker.logs)
    late.close()
    worker.stop()
    server.teardown()


@pytest.mark.parametrize("setting", [None, "true"])
def test_the_hot_task_sends_events_to_flower_only_when_asked(installation, crowd, start, setting):
    worker = start(*SHARDS_0_1, **({"APPLY_TASK_EVENTS": setting} if setting else {}))
    worker.ready()
    batch = crowd.batches(5, shards=[0], size=100)[0]
    with _events_of(installation.app) as seen:
        wait_until(lambda: _heartbeats(seen) >= 1)
        installation.accept([batch])
        wait_until(lambda: installation.journaled() == 0)
        beats = _heartbeats(seen)
        wait_until(lambda: _heartbeats(seen) >= beats + 2)
    told = {event["type"] for event in seen if event["type"].startswith("task-")}
    assert told == ({"task-received", "task-started", "task-succeeded"} if setting else set())


def _heartbeats(seen):
    return sum(event["type"] == "worker-heartbeat" for event in seen)


@contextmanager
def _events_of(app):
    """What workers tell Flower meanwhile."""
    seen: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        listener = Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=True))
        listener.start()
        yield seen
        receiver.should_stop = True
        listener.join(10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shards", "0", "--maintenance"], "either --shards or --maintenance"),
        (["--shards", "3-4"], "outside the 4 shards 0-3"),
    ],
)
def test_a_wrong_share_is_refused_with_the_reason(environment, arguments, said):
    command = [sys.executable, "-m", "cli", "worker", *arguments]
    ended = subprocess.run(
        command,
        env={**os.environ, **environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
