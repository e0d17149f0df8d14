"""Rules that change on the running product: workers that learn late, and files that cost too much."""

import json
from urllib.request import Request, urlopen

import psutil
import psycopg2
import pytest

from models.state.connection import connect_state
from tests.conftest import long_only
from tests.support.servers import wait_until

SLOW_US = 250_000
"""Far above what a call at the bound takes even here, where other tests run, and far below what it takes uncut."""


class Product:
    """A run, asked by its addresses."""

    def __init__(self, run, folder):
        self.run, self.folder = run, folder
        self.urls = json.loads(run.run("urls", "--json", "--show-passwords").stdout)

    def publish(self, goals):
        """Publish goals, and wait until they hold."""
        file = self.folder / "rules.json"
        named = [{"id": goal_id, "name": goal_id, "rule": rule} for goal_id, rule in goals.items()]
        file.write_text(json.dumps({"challenges": [{"id": "c", "goals": named}]}))
        published = self.run.run("rules", "publish", str(file))
        holds = "SELECT now() > max(active_from) FROM rule_publications"
        wait_until(lambda: self.rows(holds)[0][0])
        return published

    def send(self, events):
        body, kind = json.dumps(events).encode(), {"Content-Type": "application/json"}
        request = Request(f"{self.urls['http']}/v1/events", body, kind)  # noqa: S310 - our own http URL
        with urlopen(request, timeout=30) as answer:  # noqa: S310 - our own http URL
            assert answer.status == 202

    def rows(self, statement, *values):
        connection = psycopg2.connect(self.urls["database_url"])
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        finally:
            connection.close()

    def stored(self, user, goal_id):
        found = self.rows(
            "SELECT progress::float, status FROM user_goal_progress WHERE user_id = %s AND goal_id = %s", user, goal_id
        )
        return found[0] if found else None

    def newest(self):
        """The newest publication."""
        return self.rows("SELECT max(revision) FROM rule_publications")[0][0]

    def sessions(self):
        """The server processes of PostgreSQL behind the shard workers."""
        ports = set()
        for process in self.run.family():
            if process.cmdline()[-1] == "worker":
                ports |= {line.laddr.port for line in process.net_connections() if line.raddr}
        found = self.rows("SELECT pid, client_port FROM pg_stat_activity")
        return [psutil.Process(pid) for pid, port in found if port in ports]


def event(number, event_type, user):
    return {"event_id": f"{event_type}-{number}", "event_type": event_type, "user_id": user, "tenant_id": "default"}


def late_workers_judge_by_all_that_was_published(product):
    assert product.publish({"early": "count(early) >= 1"}).returncode == 0
    product.send([event(0, "early", "ada")])
    wait_until(lambda: product.stored("ada", "early") is not None)
    sessions = product.sessions()
    assert sessions
    for session in sessions:
        session.suspend()
    try:
        published = product.publish({"early": "count(early) >= 1", "five": "count(late) >= 5"})
        assert published.returncode == 0, published.stderr
        for number in range(5):
            product.send([event(number, "late", "ada")])
        wait_until(lambda: product.stored("ada", "five") == (5.0, "completed"), seconds=40)
    finally:
        for session in sessions:
            if session.is_running():
                session.resume()
    assert product.rows("SELECT DISTINCT rules_revision FROM events WHERE event_type = 'late'") == [(product.newest(),)]
    audited = product.run.run("audit", "--user", "ada", "--tenant", "default")
    assert audited.returncode == 0, audited.stdout


def rules_that_cost_too_much_are_refused_with_their_cost(product):
    before = product.newest()
    refused = product.publish({f"dear-{n}": f"count(dear) >= {n}" for n in range(1, 5_001)})
    assert refused.returncode != 0
    assert "event type 'dear': one event may cost 5,003 steps" in refused.stderr + refused.stdout
    assert product.newest() == before


def a_call_at_the_bound_holds_redis_briefly(product):
    published = product.publish({f"dear-{n}": f"count(dear) >= {n}" for n in range(1, 901)})
    assert published.returncode == 0, published.stderr
    redis = connect_state(product.urls["state_url"])
    redis.config_set("slowlog-log-slower-than", SLOW_US)
    redis.slowlog_reset()
    product.send([event(n, "dear", f"u{n % 20}") for n in range(100)])
    wait_until(lambda: product.stored("u19", "dear-900") == (5.0, "in_progress"), seconds=60)
    slow = [entry for entry in redis.slowlog_get(128) if entry["command"][:4].upper() == b"EVAL"]
    assert [entry["duration"] for entry in slow] == []


@long_only
@pytest.mark.timeout(300)
def test_rules_change_on_the_running_product(up, tmp_path):
    run = up()
    run.ready()
    product = Product(run, tmp_path)
    late_workers_judge_by_all_that_was_published(product)
    rules_that_cost_too_much_are_refused_with_their_cost(product)
    a_call_at_the_bound_holds_redis_briefly(product)
    run.end()
