"""The audit on the running product: silent after a mixed load, loud after a hand in the data, right through changes."""

import json
import threading
from itertools import count
from urllib.request import Request, urlopen

import psycopg2
import pytest

from tests.conftest import LONG
from tests.support.mixed_rules import document
from tests.support.servers import wait_until

EVENTS = 50_000 if LONG else 20_000
LOAD = ("load-test", "--json", "--timeout", "100", "--duplicates", "10")
CARRIED = """
    SELECT p.rule_version, max(e.occurred_at) >= '{active_from}' AS is_after, count(DISTINCT p.user_id)
    FROM user_goal_progress AS p
    JOIN events AS e ON (e.tenant_id, e.user_id) = (p.tenant_id, p.user_id) AND e.event_type = 'lesson'
    WHERE p.goal_id = 'lessons' AND p.tenant_id = 'live'
    GROUP BY p.user_id, p.rule_version
"""
UNLOCKED = """
    SELECT rule_version, occurred_at >= '{active_from}' AS is_after, count(*)
    FROM unlocks WHERE goal_id = 'lessons' AND tenant_id = 'live' GROUP BY 1, 2
"""


class Lessons(threading.Thread):
    """Sends lessons of tenant ``live`` as they happen, each user's in a row, until it is told to stop."""

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.accepted = 0
        self.enough = threading.Event()

    def run(self):
        for batch in count():
            if self.enough.wait(0.02):
                return
            # A user is at work for 30 batches, about a second, so some are before the change, some after, some both.
            users = [f"user-{batch // 30}-{number}" for number in range(4)]
            events = [
                {"event_id": f"l-{batch}-{user}", "event_type": "lesson", "user_id": user, "tenant_id": "live"}
                for user in users
            ]
            body = json.dumps(events).encode()
            request = Request(f"{self.url}/v1/events", body, {"Content-Type": "application/json"})  # noqa: S310
            with urlopen(request, timeout=10) as answer:  # noqa: S310 - our own http URL
                self.accepted += json.load(answer)["accepted"]


def change(run, statement):
    connection = psycopg2.connect(run.run("urls", "database_url").stdout.strip())
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def audited(run, *options):
    ended = run.run("audit", "--all", "--json", *options, seconds=120)
    return ended.returncode, json.loads(ended.stdout or ended.stderr)


def leaves_no_drift(run):
    """Many events in shuffled order, a tenth of them repeats, over every operator."""
    ended = run.run(*LOAD, "--events", str(EVENTS), "--users", "1500", seconds=150)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    code, report = audited(run)
    assert (code, report["difference_count"]) == (0, 0), report
    assert report["events"] == json.loads(ended.stdout)["accepted_distinct"] == EVENTS * 9 // 10
    assert report["users"] == 1_500


def names_an_altered_row(run):
    """One row altered by hand, and put right again from the event log."""
    picked = "(SELECT ctid FROM user_goal_progress WHERE goal_id = 'minutes' LIMIT 1)"
    ((tenant, user),) = change(
        run, f"UPDATE user_goal_progress SET progress = progress + 1 WHERE ctid = {picked} RETURNING tenant_id, user_id"
    )
    code, report = audited(run, "--settle", "1s")
    assert code == 1
    (difference,) = report["differences"]
    assert (difference["user_id"], difference["goal_id"], difference["what"]) == (user, "minutes", "progress")
    assert difference["found"] == pytest.approx(difference["expected"] + 1)
    repaired = run.run("reconcile", "--user", user, "--tenant", tenant, "--json", seconds=60)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert json.loads(repaired.stdout)["users_repaired"] == 1
    again = run.run("reconcile", "--user", user, "--tenant", tenant, "--json", seconds=60)
    assert json.loads(again.stdout)["users_differing"] == 0


def is_well(run):
    """The doctor finds every process at work, and nothing wrong."""
    ended = run.run("doctor", "--json", seconds=60)
    report = json.loads(ended.stdout)
    assert ended.returncode == 0, report
    said = {finding["check"]: finding["level"] for finding in report["findings"]}
    assert {said[name] for name in ("beat", "workers", "journal", "flush-lag", "migrations", "rules")} == {"ok"}


def loses_nothing_at_a_change_of_rules(run, changed):
    """A changed target is published while loads run: no event is lost, and both sides of it have their version."""
    load = run.begin(*LOAD, "--events", "6000", "--users", "300", "--rate", "1000", "--tenant", "second")
    lessons = Lessons(json.loads(run.run("urls", "--json").stdout)["http"])
    lessons.start()
    try:
        wait_until(lambda: run.rows("SELECT count(*) > 200 FROM events WHERE tenant_id = 'live'")[0][0])
        published = run.run("rules", "publish", str(changed), "--json")
        assert published.returncode == 0, published.stderr
        active_from = json.loads(published.stdout)["active_from"]
        after = f"SELECT count(*) > 400 FROM events WHERE tenant_id = 'live' AND occurred_at > '{active_from}'"
        wait_until(lambda: run.rows(after)[0][0], seconds=40)
    finally:
        lessons.enough.set()
        lessons.join()
    output, errors = load.communicate(timeout=120)
    assert load.returncode == 0, output + errors
    wait_until(lambda: run.rows("SELECT count(*) FROM events WHERE tenant_id = 'live'") == [(lessons.accepted,)])

    carried = {row[:2] for row in run.rows(CARRIED.format(active_from=active_from))}
    assert carried == {(1, False), (2, True)}
    unlocked = {row[:2] for row in run.rows(UNLOCKED.format(active_from=active_from))}
    assert unlocked == {(1, False), (2, True)}
    code, report = audited(run)
    assert (code, report["difference_count"]) == (0, 0), report


@pytest.mark.timeout(400)
def test_a_mixed_load_and_a_change_of_rules_leave_no_drift_and_an_altered_row_is_named(up, tmp_path):
    rules, changed = tmp_path / "rules.json", tmp_path / "changed.json"
    rules.write_bytes(document())
    changed.write_bytes(document(lessons=20))
    run = up(CHALLENGES_FILE=str(rules))
    run.ready()
    leaves_no_drift(run)
    names_an_altered_row(run)
    is_well(run)
    loses_nothing_at_a_change_of_rules(run, changed)
