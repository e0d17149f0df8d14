"""``questline up`` as people use it: one process, a terminal's output, and signals."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import psycopg2
import pytest

from tests.servers import wait_until
from worker.services.ports import free_port
from worker.services.supervision import remote

KEYS = ["http", "grpc", "metrics", "flower", "database_url", "broker_url", "state_url"]


class Up:
    """One ``questline up`` of this test, known by its own process and data folder only."""

    def __init__(self, folder: Path, ports: dict[str, int], **extra: str) -> None:
        self.data = folder / "data"
        self.output = folder / "output.txt"
        unwanted = {"DB_HOST", "DB_PORT", "DB_PASSWORD", "BROKER_URL", "STATE_URL"}
        kept = {name: value for name, value in os.environ.items() if name not in unwanted}
        told = {name: str(port) for name, port in ports.items()}
        self.environment = {**kept, **told, "QUESTLINE_DATA_DIR": str(self.data), **extra}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "up"],
                env=self.environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> None:
        wait_until(
            lambda: "Try it" in self.said() or self.process.poll() is not None,
            seconds=60,
            message=self.said,
        )
        assert self.process.poll() is None, self.said()

    def run(self, *verb: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "worker.cli", *verb]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)

    def programs(self) -> dict[str, int]:
        """The pid of every program that runs now."""
        with remote(json.loads((self.data / "run.json").read_text())["socket"]) as proxy:
            rows: Any = proxy.supervisor.getAllProcessInfo()
        return {row["name"]: row["pid"] for row in rows if row["pid"]}

    def family(self) -> list[psutil.Process]:
        """Every process below ours."""
        below: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return below

    def end(self, number: signal.Signals = signal.SIGINT) -> float:
        """Stop it as a user does; the seconds it took."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - start


@pytest.fixture(scope="module")
def ports():
    """One set of ports for the tests of this file, which run one after the other."""
    taken: list[int] = []
    for _ in range(4):
        taken.append(free_port(taken=taken))
    return dict(zip(["HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "FLOWER_PORT"], taken, strict=True))


@pytest.fixture
def up(tmp_path, ports):
    """Starts runs in one folder; ends what a failed test leaves."""
    started: list[Up] = []

    def start(**extra: str) -> Up:
        started.append(Up(tmp_path, ports, **extra))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.end(signal.SIGTERM)


def _query(url: str, statement: str) -> list[Any]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def _paste(run: Up) -> dict[str, Any]:
    """Run the line that a user is told to paste."""
    [line] = [line for line in run.said().splitlines() if line.startswith("curl ")]
    reply = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=10, check=True)
    answer: dict[str, Any] = json.loads(reply.stdout)
    return answer


def _daily_logins(run: Up) -> list[Any]:
    """The progress that alice's login made, as psql would show it."""
    url = run.run("urls", "database_url").stdout.strip()
    return _query(url, "SELECT progress FROM user_goal_progress WHERE goal_id = 'daily-login' AND user_id = 'alice'")


@pytest.mark.timeout(180)
def test_an_event_pasted_becomes_a_row_and_a_second_run_goes_on(up):
    first = up()
    first.ready()
    assert _paste(first) == {"accepted": 1, "rejected": []}
    wait_until(lambda: _daily_logins(first) == [(1,)], seconds=10)
    found = json.loads(first.run("urls", "--json").stdout)
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

    second = up()
    second.ready()
    assert json.loads(second.run("urls", "--json").stdout) == found
    assert _daily_logins(second) == [(1,)]
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
    flower = json.loads(run.run("urls", "--json").stdout)["flower"]
    with pytest.raises(OSError, match="401"):
        urlopen(flower, timeout=5)  # noqa: S310 - our own http URL
    another = run.run("up")
    assert another.returncode == 1
    assert "already running" in another.stderr
    assert len(another.stderr.splitlines()) == 1
    assert run.programs() == after


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
def test_a_given_database_that_is_not_there_ends_the_run_with_one_line(up):
    port = free_port()
    run = up(DB_HOST="127.0.0.1", DB_PORT=str(port))
    assert run.process.wait(60) == 1
    assert f"port {port} failed" in run.said().splitlines()[-1]
    assert not (run.data / "run.json").exists()
