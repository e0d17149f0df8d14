"""What the product promises, shown on the product: processes, HTTP and gRPC in, rows in PostgreSQL out."""

import json
import os
import shutil
import signal
import time
from urllib.request import Request, urlopen

import pytest

from models.database.connection import connect_database
from models.events import Event
from tests.support.dead_letters import batch_dead_letter, store_dead_letters
from tests.support.servers import wait_until

LOAD = ("load-test", "--json", "--timeout", "100")


def _post(run, path, body):
    url = json.loads(run.run("urls", "--json").stdout)["http"]
    request = Request(f"{url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - our own http URL
        return json.load(answer)


def _shown(run, user, tenant="default"):
    goals = json.loads(run.run("progress", user, "--tenant", tenant, "--json").stdout)["goals"]
    return {goal["goal_id"]: (goal["progress"], goal["status"]) for goal in goals}


def _exact(run, *options):
    """A load test that proves itself: every accepted event once, every row as the reference engine has it."""
    ended = run.run(*LOAD, *options, seconds=150)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(ended.stdout)
    assert report["progress_exact"]
    assert report["events_in_postgresql"] == report["accepted_distinct"]
    return report


def _store_dead_letters(run, *event_ids):
    engine = connect_database(run.run("urls", "database_url").stdout.strip())
    now = time.time_ns() // 1_000
    events = [Event(event_id, "login", "mygame", "abc123", now, now) for event_id in event_ids]
    store_dead_letters(engine, *map(batch_dead_letter, events))
    engine.dispose()


@pytest.mark.timeout(400)
def test_events_of_every_transport_are_exact_through_duplicates_kills_restarts_and_a_wiped_redis(up):
    run = up(JOURNAL_RETRY_AFTER="4s", JOURNAL_SWEEP_INTERVAL="1s")
    run.ready()

    # A login over gRPC and over the AGS topic; a stat that goes 1, 5, 10.
    assert run.run("events", "trigger", "login", "--user", "ada", "--grpc").returncode == 0
    topic = "mygame.iam.account.v1.userLoggedIn"
    login = {"id": "event-123", "payload": {"userId": "abc123", "namespace": "mygame"}}
    assert _post(run, f"/v1/ags/{topic}", login)["accepted"] == 1
    for value in ("1", "5", "10"):
        sent = run.run("events", "trigger", "statistic", "--user", "ada", "--stat-code", "level", "--value", value)
        assert sent.returncode == 0, sent.stderr
    wait_until(lambda: _shown(run, "ada")["reach-level-10"] == (10, "completed"))
    statement = (
        "SELECT user_id, progress::int FROM user_goal_progress "
        "WHERE goal_id = 'first-login' AND user_id IN ('ada', 'abc123') ORDER BY 1"
    )
    wait_until(lambda: run.rows(statement) == [("abc123", 1), ("ada", 1)], seconds=5)
    assert _shown(run, "abc123", "mygame")["daily-login"] == (1, "completed")

    # Dead letters of an event that was applied after all and of one that was not, redriven.
    _store_dead_letters(run, "event-123", "event-124")
    redriven = run.run("dlq", "redrive", "--tenant", "mygame", "--json")
    assert redriven.returncode == 0, redriven.stderr
    assert json.loads(redriven.stdout) == {"redriven": 2, "refused": [], "skipped": 0, "left": 0}
    wait_until(lambda: run.rows("SELECT count(*) FROM events WHERE user_id = 'abc123'") == [(2,)], seconds=5)
    assert "0 of 0 dead letters" in run.run("dlq", "list").stdout

    # 20,000 events, a tenth of them repeated, over 2,000 users.
    report = _exact(run, "--events", "20000", "--users", "2000", "--duplicates", "10")
    assert report["accepted_distinct"] == 18_000

    # A shard worker killed in the middle.
    load = run.begin(*LOAD, "--events", "12000", "--users", "500", "--rate", "4000")
    wait_until(lambda: run.rows("SELECT count(*) > 2000 FROM events WHERE user_id LIKE 'lt-%%'")[0][0])
    killed = run.programs()["worker-0"]
    os.kill(killed, signal.SIGKILL)
    output, errors = load.communicate(timeout=120)
    assert load.returncode == 0, output + errors
    assert f"worker-0 (pid {killed}) died" in run.said()
    total = run.rows("SELECT count(*), count(DISTINCT (tenant_id, user_id, event_id)) FROM events")

    # Everything stopped, Redis' data deleted, started again: progress goes on, and a duplicate is still known.
    assert run.end() < 15
    shutil.rmtree(run.data / "redis")
    again = up(JOURNAL_RETRY_AFTER="4s", JOURNAL_SWEEP_INTERVAL="1s")
    again.ready()
    assert again.rows("SELECT count(*), count(DISTINCT (tenant_id, user_id, event_id)) FROM events") == total
    assert _shown(again, "ada")["reach-level-10"] == (10, "completed")
    assert _post(again, f"/v1/ags/{topic}", login)["accepted"] == 1
    assert again.run("events", "trigger", "login", "--user", "ada").returncode == 0
    # The duplicate moved nothing; the redriven login of abc123 had counted.
    wait_until(lambda: again.rows(statement) == [("abc123", 2), ("ada", 2)], seconds=20)
    assert _shown(again, "abc123", "mygame")["daily-login"] == (1, "completed")
    assert again.end() < 15
