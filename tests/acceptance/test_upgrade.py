"""The data of releases before is taken up: Redis and PostgreSQL as it left them, work on its way included."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.acceptance.product import Up
from tests.support.servers import wait_until
from tools.local.supervision import remote

ROOT = Path(__file__).parents[2]
RELEASES_BEFORE = ("461032d", "3a9b3e4")
"""Commits that were landed before the release of this checkout."""
USERS = 40
GOALS: dict[str, str] = {
    "visits": "count(visit) >= 3",
    "points": "sum(score) >= 1000",
    "level": "latest(score) >= 900",
    "week": "streak(visit, unit=day) >= 2",
    "both": "all([count(visit) >= 2, count(score) >= 2])",
}


@pytest.fixture(params=RELEASES_BEFORE)
def release_before(request, tmp_path):
    """The tree of a release before; it runs in this environment, whose packages it shares."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", request.param], capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the history of this checkout does not reach back to {request.param}")
    tree = tmp_path / "release-before"
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree


class UpOfBefore(Up):
    """``questline up`` of a release before."""

    program = "worker.cli"

    def __init__(self, tree: Path, folder: Path, ports: dict[str, int], **extra: str) -> None:
        self._tree = tree
        super().__init__(folder, ports, PYTHONPATH=str(tree), PYTHONSAFEPATH="1", **extra)


def _events(name: str, *, value: int) -> list[dict[str, Any]]:
    """One visit and one score of each user."""
    return [
        {"event_id": f"{name}-{kind}-{user}", "event_type": kind, "user_id": f"user-{user}", "value": value}
        for user in range(USERS)
        for kind in ("visit", "score")
    ]


def _send(run: Up, events: list[dict[str, Any]]) -> None:
    url = f"http://127.0.0.1:{run.environment['HTTP_PORT']}/v1/events"
    body = json.dumps(events).encode()

    def is_accepted() -> bool:
        try:
            with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=10) as answer:
                return bool(json.load(answer)["accepted"] == len(events))
        except OSError:
            return False

    wait_until(is_accepted, seconds=40, message="events were not accepted")


def _stop(run: Up, *names: str) -> None:
    """Stop programs; the supervisor leaves them so."""
    with remote(json.loads((run.data / "run.json").read_text())["socket"]) as proxy:
        for name in names:
            proxy.supervisor.stopProcess(name)


def _progress(run: Up) -> set[tuple[str, float, int]]:
    """Each goal with its progress and how many users stand there."""
    found = run.rows(
        "SELECT goal_id, progress::float, count(*) FROM user_goal_progress WHERE NOT is_part GROUP BY 1, 2"
    )
    return {tuple(row) for row in found}


def _code_of(run: Up) -> Path:
    """Where the processes of a run have their code from."""
    command = [sys.executable, "-c", "import worker; print(worker.__file__)"]
    found = subprocess.run(command, env=run.environment, capture_output=True, text=True, check=True)
    return Path(found.stdout.strip())


def _stored(run: Up) -> int:
    return int(run.rows("SELECT count(*) FROM events")[0][0])


@pytest.mark.timeout(240)
def test_events_on_their_way_in_the_release_before_count_once_and_progress_goes_on(release_before, tmp_path, ports):
    goals = [{"id": name, "name": name, "rule": rule} for name, rule in GOALS.items()]
    challenges = tmp_path / "challenges.json"
    challenges.write_text(json.dumps({"challenges": [{"id": "c", "name": "C", "goals": goals}]}))
    settings = {"CHALLENGES_FILE": str(challenges)}

    before = UpOfBefore(release_before, tmp_path, ports, **settings)
    try:
        before.ready()
        assert _code_of(before).is_relative_to(release_before)
        _send(before, _events("flushed", value=100))
        wait_until(lambda: _stored(before) == 2 * USERS)
        _stop(before, "maintenance")
        _send(before, _events("applied", value=200))
        wait_until(lambda: json.loads(before.run("progress", "user-1", "--json").stdout)["goals"][0]["progress"] > 1)
        _stop(before, "worker-0", "worker-1")
        _send(before, _events("journaled", value=300))
    finally:
        before.end()

    after = Up(tmp_path, ports, **settings)
    try:
        after.ready()
        for name, value in (("flushed", 100), ("applied", 200), ("journaled", 300)):
            _send(after, _events(name, value=value))  # again: each is known
        _send(after, _events("new", value=400))
        expected = {
            ("visits", 4.0, USERS), ("points", 1000.0, USERS), ("level", 400.0, USERS), ("week", 1.0, USERS),
            ("both", 2.0, USERS),
        }  # fmt: skip
        wait_until(lambda: _progress(after) == expected, message=lambda: str(_progress(after)))
        assert _stored(after) == 8 * USERS
        assert after.rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]
        audit = after.run("audit", "--all", seconds=60)
        assert audit.returncode == 0, audit.stdout + audit.stderr
        assert after.run("doctor", seconds=60).returncode == 0
    finally:
        after.end()
    assert after.process.returncode == 0, after.said()
