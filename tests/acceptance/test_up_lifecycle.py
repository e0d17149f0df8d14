"""``questline up`` as people use it: one process, a terminal's output, and signals."""

import json
import os
import signal
import socket
import stat
import subprocess
from contextlib import suppress
from itertools import count
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import httpx
import psutil
import pytest

from cli.client.ports import free_port
from tests.acceptance.product import Up, query
from tests.conftest import long_only
from tests.support.servers import wait_until

KEYS = ["http", "grpc", "metrics", "flower", "database_url", "broker_url", "state_url"]


def _paste(run: Up) -> dict[str, Any]:
    """Run the line that a user is told to paste."""
    [line] = [line for line in run.said().splitlines() if line.startswith("curl ")]
    reply = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=10, check=True)
    answer: dict[str, Any] = json.loads(reply.stdout)
    return answer


def _daily_logins(run: Up) -> list[Any]:
    """The progress that alice's login made, as psql would show it."""
    url = run.run("urls", "database_url").stdout.strip()
    return query(url, "SELECT progress FROM user_goal_progress WHERE goal_id = 'daily-login' AND user_id = 'alice'")


def _a_key_is_accepted_and_its_secret_is_in_no_log(run: Up) -> None:
    key = run.run("keys", "create", "--tenant", "default", "--scope", "admin").stdout.strip()
    wait_until(lambda: run.run("progress", "alice").returncode == 1, message="nobody asked for a key")
    for shown in (key, "ql_000000000000_no-such-secret"):
        run.environment["API_KEY"] = shown
        for verb in (("progress", "alice"), ("events", "trigger", "login", "--user", "alice", "--grpc")):
            done = run.run(*verb)
            assert (done.returncode == 0) == (shown == key), done.stderr
    said = [path.read_text(errors="replace") for path in (run.data / "logs").iterdir()]
    said += [run.said(), run.run("keys", "list").stdout, (run.data / "run.json").read_text()]
    assert not [text for text in said if key.split("_", 2)[2] in text or "no-such-secret" in text]


@pytest.mark.timeout(180)
def test_an_event_pasted_becomes_a_row_and_a_second_run_goes_on(up):
    first = up()
    first.ready()
    assert _paste(first) == {"accepted": 1, "rejected": []}
    wait_until(lambda: _daily_logins(first) == [(1,)], seconds=10)
    found = json.loads(first.run("urls", "--json", "--show-passwords").stdout)
    assert list(found) == KEYS
    assert stat.S_IMODE((first.data / "run.json").stat().st_mode) == 0o600
    family = first.family()
    assert first.end() < 15
    assert first.process.returncode == 0, first.said()
    assert [process for process in family if process.is_running()] == []
    assert "not in PostgreSQL yet" not in first.said()
    not_running = first.run("urls")
    assert not_running.returncode == 1
    assert "not running" in not_running.stderr
    assert len(not_running.stderr.splitlines()) == 1

    second = up(LOG_LEVEL="debug")
    second.ready()
    assert json.loads(second.run("urls", "--json", "--show-passwords").stdout) == found
    assert _daily_logins(second) == [(1,)]
    _a_key_is_accepted_and_its_secret_is_in_no_log(second)
    assert second.end(signal.SIGTERM) < 15
    assert second.process.returncode == 0, second.said()


@pytest.mark.timeout(180)
def test_a_killed_worker_comes_back_and_flower_wants_its_password(up):
    run = up()
    run.ready()
    before = run.programs()
    assert set(before) == {
        "redis",
        "postgres",
        "receiver",
        "worker-0",
        "worker-1",
        "maintenance",
        "beat",
        "flower",
    }
    pool = psutil.Process(before["worker-0"]).children(recursive=True)
    os.kill(before["worker-0"], signal.SIGKILL)
    died = f"worker-0 (pid {before['worker-0']}) died: terminated by SIGKILL; started again as pid"
    wait_until(lambda: died in run.said(), message=run.said)
    after = run.programs()
    assert {name: pid for name, pid in after.items() if pid != before.get(name)}.keys() == {"worker-0"}
    wait_until(lambda: not any(process.is_running() for process in pool), message="the pool outlived its worker")
    flower = urlsplit(run.run("urls", "flower").stdout.strip())
    assert flower.password
    assert flower.password not in run.said()
    with pytest.raises(OSError, match="401"):
        urlopen(f"http://{flower.hostname}:{flower.port}", timeout=5)
    another = run.run("up")
    assert another.returncode == 1
    assert "already running" in another.stderr
    assert len(another.stderr.splitlines()) == 1
    assert run.programs() == after
    _all_killed_twice_take_events_again(run)


def _all_killed_twice_take_events_again(run: Up) -> None:
    """Killed again a moment after the first start, no program counts as one that fails at its start."""
    ours = {"receiver", "worker-0", "worker-1", "maintenance", "beat", "flower"}
    for _ in range(2):
        programs = run.programs()
        for name in ours:
            for process in [*psutil.Process(programs[name]).children(recursive=True), psutil.Process(programs[name])]:
                process.kill()
        # 3 s on a machine that has nothing else to do; before, 7 to 10 there.
        wait_until(lambda: run.run("events", "trigger", "login", "--user", "bob").returncode == 0, seconds=15)
        wait_until(lambda: ours <= run.programs().keys(), message=run.said)
    wait_until(lambda: run.rows("SELECT count(*) FROM events WHERE user_id = 'bob'") == [(2,)], seconds=30)


@pytest.mark.timeout(180)
def test_a_killed_launcher_leaves_nothing_and_the_next_run_starts(up):
    first = up()
    first.ready()
    family = first.family()
    first.process.kill()
    first.process.wait(10)
    second = up()
    second.ready()
    assert [process for process in family if process.is_running()] == []
    assert _paste(second)["accepted"] == 1


@long_only
@pytest.mark.timeout(180)
def test_a_stop_under_load_needs_no_force(up):
    """Workers bring to an end what they have in hand, and everybody has the time for it; wants a quiet machine."""
    run = up()
    run.ready()
    url, ended = f"{run.run('urls', 'http').stdout.strip()}/v1/events", Event()

    def send(sender: int) -> None:
        for number in count():
            if ended.is_set():
                return
            events = [
                {"event_type": "login", "user_id": f"u{n}", "event_id": f"{sender}-{number}-{n}"} for n in range(200)
            ]
            with suppress(httpx.HTTPError):
                httpx.post(url, json=events, timeout=10)

    senders = [Thread(target=send, args=(number,)) for number in range(4)]
    for sender in senders:
        sender.start()
    log = run.data / "logs" / "supervisord.log"
    said_before = log.stat().st_size
    wait_until(lambda: run.rows("SELECT count(*) > 3000 FROM events") == [(True,)], seconds=30)
    took = run.end(signal.SIGTERM)
    ended.set()
    for sender in senders:
        sender.join()
    assert took < 16
    assert "SIGKILL" not in log.read_text()[said_before:]


@pytest.mark.parametrize("name", ["HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "FLOWER_PORT"])
def test_a_taken_port_is_one_clear_line_and_nothing_is_started(up, ports, name):
    with socket.create_server(("127.0.0.1", ports[name])):
        run = up()
        assert run.process.wait(20) == 1
    assert run.said() == f"questline: port {ports[name]} is already taken: free it, or set {name} to another\n"
    assert not (run.data / "postgres").exists()


def test_faults_in_the_goals_are_said_before_anything_is_started(up, tmp_path):
    broken = tmp_path / "goals.json"
    broken.write_text('{"challenges": [{"id": 1}]}')
    run = up(CHALLENGES_FILE=str(broken))
    assert run.process.wait(20) == 2
    assert all(line.startswith(f"questline: {broken}") for line in run.said().splitlines())
    assert not run.data.exists()


@pytest.mark.timeout(120)
def test_an_address_that_others_can_reach_is_refused_while_there_is_no_key(up):
    run = up(HTTP_HOST="0.0.0.0")
    assert run.process.wait(60) == 2
    assert "HTTP_HOST: 0.0.0.0" in run.said()
    assert "questline keys create" in run.said()
    assert not (run.data / "logs" / "receiver.log").exists()


@pytest.mark.timeout(120)
def test_a_given_database_that_is_not_there_ends_the_run_with_one_line(up):
    port = free_port()
    run = up(DB_HOST="127.0.0.1", DB_PORT=str(port))
    assert run.process.wait(60) == 1
    last = run.said().splitlines()[-1]
    assert "the PostgreSQL of DB_HOST did not get ready" in last
    assert "Connection refused" in last
    assert not (run.data / "run.json").exists()
