"""The product on Sentinels: the master is killed under load, a replica is promoted, and no answered event is lost."""

import http.client
import json
import time
from collections import Counter
from threading import Event, Thread

import pytest

from cli.client.messages import EVENTS_PATH
from tests.support.environment import database_settings
from tests.support.redis_servers import sentinel_group
from tests.support.servers import wait_until

BETWEEN_S = 0.01
PATIENCE = 80


class Sender:
    """Sends one event after another, each until it is acknowledged."""

    def __init__(self, port: int, stop: Event) -> None:
        self.answers: Counter[str] = Counter()
        self.acknowledged: list[str] = []
        self.longest_pause = 0.0
        self._port, self._stop = port, stop
        self.thread = Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(BETWEEN_S):
            event_id = f"failover-{len(self.acknowledged)}"
            while (answer := self._post(event_id)) != "202" and not self._stop.wait(BETWEEN_S):
                self.answers[answer] += 1
            if answer == "202":
                self.acknowledged.append(event_id)
                self.longest_pause = max(self.longest_pause, time.monotonic() - last)
                last = time.monotonic()

    def _post(self, event_id: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        user = f"user-{len(self.acknowledged) % 50}"
        body = json.dumps({"event_id": event_id, "event_type": "login", "user_id": user})
        try:
            connection.request("POST", EVENTS_PATH, body, {"Content-Type": "application/json"})
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()


@pytest.fixture
def group(tmp_path):
    folder = tmp_path / "servers"
    folder.mkdir()
    with sentinel_group(folder) as found:
        yield found


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("engine")
def test_a_failover_under_load_loses_nothing_that_a_replica_had_to_confirm(up, ports, group, database_url):
    run = up(
        BROKER_URL=group.url, JOURNAL_REPLICAS="1", JOURNAL_RETRY_AFTER="3s", JOURNAL_SWEEP_INTERVAL="1s",
        **database_settings(database_url),
    )  # fmt: skip
    run.ready()
    programs, stop = run.programs(), Event()
    sender = Sender(ports["HTTP_PORT"], stop)
    try:
        wait_until(lambda: len(sender.acknowledged) > 100, seconds=PATIENCE, message=lambda: str(sender.answers))
        old = group.fail_over()
        group.start_again(old)
        before = len(sender.acknowledged)
        wait_until(
            lambda: len(sender.acknowledged) > before + 200, seconds=PATIENCE, message=lambda: str(sender.answers)
        )
    finally:
        stop.set()
        sender.thread.join()
    print(f"{len(sender.acknowledged)} acknowledged, longest pause {sender.longest_pause:.1f} s, {sender.answers}")
    wait_until(
        lambda: stored(run) >= set(sender.acknowledged), seconds=PATIENCE,
        message=lambda: f"missing: {sorted(set(sender.acknowledged) - stored(run))[:20]}",
    )  # fmt: skip
    assert run.programs() == programs, "no process ended by it"
    assert run.rows("SELECT count(*) FROM dead_letters") == [(0,)]
    audited = run.run("audit", "--all", seconds=PATIENCE)
    assert audited.returncode == 0, audited.stdout + audited.stderr


def stored(run):
    return {event_id for (event_id,) in run.rows("SELECT event_id FROM events")}
