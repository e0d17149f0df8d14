"""``questline shards resize`` on a product under load: reading goes on, and every event counts once."""

import json
from threading import Event, Thread
from time import monotonic
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.conftest import long_only
from tests.support.servers import wait_until

USERS = [f"u{number}" for number in range(40)]
RULE = {"challenges": [{"id": "c", "name": "c", "goals": [{"id": "all", "name": "all", "rule": "count(x) >= 100000"}]}]}
SIZES = (7, 3, 16)
PAUSE_SECONDS = 30
"""On a busy machine; a quiet one takes a few."""


class Load:
    """Sends events in turn to all users, the same ones again after a 503, and reads a user all the time."""

    def __init__(self, http):
        self.http, self.sent, self.refused = http, 0, set()
        self.unread, self.stopping = [], Event()
        self.threads = [Thread(target=self._send), Thread(target=self._read)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def _send(self):
        while not self.stopping.is_set():
            events = [{"event_id": f"{user}-{self.sent}", "event_type": "x", "user_id": user} for user in USERS]
            while (status := self._call("/v1/events", json.dumps(events).encode())[0]) != 202:
                self.refused.add(status)
                assert status in {0, 503}, status
                self.stopping.wait(0.2)
            self.sent += 1
            self.stopping.wait(0.05)

    def _read(self):
        while not self.stopping.wait(0.05):
            status, _ = self._call(f"/v1/users/{USERS[0]}/progress")
            if status != 200:
                self.unread.append(status)

    def _call(self, path, body=None):
        headers = {"Content-Type": "application/json"}
        try:
            with urlopen(Request(self.http + path, body, headers), timeout=20) as answer:  # noqa: S310 - http
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""


@pytest.fixture
def product(up, tmp_path):
    (tmp_path / "rules.json").write_text(json.dumps(RULE))
    run = up(SHARDS="4", CHALLENGES_FILE=str(tmp_path / "rules.json"))
    run.ready()
    return run


def _counts(product):
    rows = product.rows("SELECT progress FROM user_goal_progress WHERE goal_id = 'all' AND user_id LIKE 'u%'")
    return {int(progress) for (progress,) in rows}


@long_only
def test_every_event_counts_once_while_the_number_of_shards_changes(product):
    load = Load(json.loads(product.run("urls", "--json").stdout)["http"])
    try:
        wait_until(lambda: load.sent > 5, seconds=30)
        for size in SIZES:
            done = product.run("shards", "resize", str(size), "--json", seconds=120)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["paused_seconds"] < PAUSE_SECONDS
            sent, started = load.sent, monotonic()
            wait_until(lambda sent=sent: load.sent > sent + 5, seconds=30)
            assert monotonic() - started < PAUSE_SECONDS
    finally:
        load.stop()
    assert load.unread == []
    assert load.refused <= {503}
    wait_until(lambda: _counts(product) == {load.sent}, seconds=60, message=lambda: f"{_counts(product)} {load.sent}")
    assert product.rows("SELECT count(*) FROM events") == [(load.sent * len(USERS),)]
    audit = product.run("audit", "--json", seconds=60)
    assert audit.returncode == 0, audit.stdout
    doctor = json.loads(product.run("doctor", "--json").stdout)
    of_fleet = [found for found in doctor["findings"] if found["check"] in {"fleet", "workers", "shared-settings"}]
    assert {(found["check"], found["level"]) for found in of_fleet if found["level"] == "error"} == set(), of_fleet
