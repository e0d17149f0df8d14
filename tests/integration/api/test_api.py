"""Reading: progress, health and the fleet's metrics, over the routers the receiver serves."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf
from urllib.parse import quote, urlsplit

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.database_threads import DatabaseThreads
from api.metrics.collector import FleetCollector, fleet_registry
from api.progress.routes import ProgressService, progress_router
from models.database.attributes import AttributeStore
from models.database.connection import connect_database
from models.database.dead_letters.changes import DeadLetterChanges
from models.database.dead_letters.reader import DeadLetterReader
from models.database.progress import ProgressReader
from models.database.rules.publisher import Document
from models.declarations.metrics import (
    COMMIT_SECONDS,
    COUNTED,
    DEAD_LETTERS,
    DECLARED,
    EVENTS_ACCEPTED,
    EVENTS_REJECTED,
    PUBLISH_FAILURES,
    Counter,
    Histogram,
)
from models.rules.challenge_file.rule_text import expression_of
from models.rules.goals import Goal, Rulebook
from models.rules.operators import make_rule
from models.state.attributes import AttributeCache
from models.state.connection import connect_state
from models.state.metrics import Metrics
from models.state.progress.records import Records
from models.state.queue.broker import Broker
from models.stores.user_attributes import UserAttributes
from tasks.dead_letters.count import DepthKeeper
from tests.support.dead_letters import batch_dead_letter, message_dead_letter, store_dead_letters
from tests.support.stack import GOALS, NOON, SHARDS, WINDOW, FixedRules
from web.application import make_application

AWAY = "postgresql://nobody:x@127.0.0.1:1/none"


@dataclass
class Client:
    """Asks an application in this process."""

    app: FastAPI

    def get(self, path):
        async def ask():
            async with AsyncClient(transport=ASGITransport(self.app), base_url="http://test") as client:
                return await client.get(path)

        return asyncio.run(ask())


def _client(stack, **changes):
    parts = {
        "document": Document(b"", GOALS, "rules.json"),
        "rules": FixedRules(GOALS),
        "records": stack.records,
        "reader": stack.reader,
        "attributes": _attributes(stack),
        "shards": SHARDS,
        "now_us": stack.clock,
    }
    return Client(make_application([progress_router(ProgressService(**(parts | changes)), DatabaseThreads())]))


def _attributes(stack, engine=None):
    cache = AttributeCache(stack.redis, ttl=timedelta(hours=1))
    return UserAttributes(cache, AttributeStore(engine or stack.engine), SHARDS)


def _goals(answer):
    assert answer.status_code == 200, answer.text
    return {goal["goal_id"]: goal for goal in answer.json()["goals"]}


def test_every_active_goal_is_shown_whether_started_or_not(stack):
    stack.post(stack.event("login"))
    goals = _goals(_client(stack).get("/v1/users/u1/progress?tenant_id=t1"))
    assert list(goals) == ["daily-login", "logins", "minutes", "level"]
    assert goals["daily-login"] == {
        "challenge_id": "dailies", "goal_id": "daily-login", "name": "daily-login", "description": "",
        "rule": expression_of(GOALS.by_id["daily-login"].rule), "period": "2026-11-21", "progress": 1, "target": 1,
        "status": "completed", "completed_at": "2026-11-21T12:00:00Z", "locked": False, "prerequisites": [],
        "hidden": False, "secret": False, "active_from": None, "active_until": None, "parts": [], "rule_version": 1,
    }  # fmt: skip
    assert (goals["minutes"]["status"], goals["minutes"]["progress"], goals["minutes"]["rule_version"]) == (
        "not_started",
        0,
        1,
    )


def test_progress_is_readable_before_any_flush_and_the_same_after_redis_is_gone(stack, redis):
    stack.post(stack.event("workout", value=12.5), stack.event("login", at=NOON - timedelta(days=1)))
    client = _client(stack)
    before = _goals(client.get("/v1/users/u1/progress?tenant_id=t1"))
    assert before["minutes"]["progress"] == 12.5
    stack.flusher.flush()
    redis.flushall()
    assert _goals(client.get("/v1/users/u1/progress?tenant_id=t1")) == before


def test_yesterdays_completion_is_not_todays(stack):
    stack.post(stack.event("login", at=NOON - timedelta(days=1)))
    goal = _goals(_client(stack).get("/v1/users/u1/progress?tenant_id=t1"))["daily-login"]
    assert (goal["period"], goal["status"], goal["progress"]) == ("2026-11-21", "not_started", 0)


@pytest.mark.parametrize("user", ["a/b", "a:b|c", "ü ñ", "50%", "x?y=z"])
def test_any_printable_user_id_can_be_read(stack, user):
    stack.post(stack.event("login", user))
    goals = _goals(_client(stack).get(f"/v1/users/{quote(user, safe='')}/progress?tenant_id=t1"))
    assert goals["logins"]["progress"] == 1


def test_redis_away_is_answered_from_postgresql(stack):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    away = Records(connect_state("redis://127.0.0.1:1/0"), window=WINDOW, record_ttl=timedelta(hours=1))
    goals = _goals(_client(stack, records=away).get("/v1/users/u1/progress?tenant_id=t1"))
    assert goals["logins"]["progress"] == 1


def test_postgresql_away_is_answered_from_redis_and_without_both_the_answer_is_503(stack):
    reader = ProgressReader(connect_database(AWAY), window=WINDOW)
    stack.post(stack.event("login"))
    client = _client(stack, reader=reader, rules=FixedRules(None))
    goals = _goals(client.get("/v1/users/u1/progress?tenant_id=t1"))
    assert (goals["logins"]["progress"], goals["minutes"]["rule_version"]) == (1, None)
    refused = client.get("/v1/users/nobody/progress?tenant_id=t1")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")


def test_a_wrong_tenant_is_refused(stack):
    assert _client(stack).get("/v1/users/u1/progress?tenant_id=a:b").status_code == 422


def _for_some(stack):
    """A rulebook that asks for attributes, and the client for it."""
    login = make_rule(op="count", events=("login",), target=3)
    goals = Rulebook(
        (
            Goal(goal_id="all", challenge_id="c", name="All", rule=replace(login, per="day", timezone="user")),
            Goal(goal_id="pro", challenge_id="c", name="Pro", rule=login, segments={"plan": ("pro",)}),
            Goal(goal_id="quiet", challenge_id="c", name="Quiet", rule=login, hidden=True),
            Goal(goal_id="dark", challenge_id="c", name="Dark", rule=login, secret=True),
        )
    )
    return _client(stack, rules=FixedRules(goals))


def test_attributes_decide_about_segments_and_the_users_day(stack):
    client = _for_some(stack)
    stack.clock.advance(hours=11, minutes=30)
    before = _goals(client.get("/v1/users/u1/progress?tenant_id=t1"))
    assert (list(before), before["all"]["period"]) == (["all", "dark"], "2026-11-21")
    _attributes(stack).replace("t1", "u1", {"plan": "pro", "timezone": "Europe/Berlin"})
    after = _goals(client.get("/v1/users/u1/progress?tenant_id=t1"))
    assert (list(after), after["all"]["period"]) == (["all", "pro", "dark"], "2026-11-22")


def _segmented():
    rule = make_rule(op="count", events=("login",))
    return Rulebook((Goal(goal_id="pro", challenge_id="c", name="Pro", rule=rule, segments={"plan": ("pro",)}),))


def test_attributes_that_nobody_can_tell_do_not_stop_the_answer(stack):
    away = _attributes(stack, connect_database(AWAY))
    client = _client(stack, rules=FixedRules(_segmented()), attributes=away)
    stack.post(stack.event("login"))
    assert _goals(client.get("/v1/users/u1/progress?tenant_id=t1")) == {}


def test_operators_may_see_what_is_hidden_and_secret(stack):
    client = _for_some(stack)
    hidden = _goals(client.get("/v1/users/u1/progress"))
    assert (list(hidden), hidden["dark"]["name"], hidden["dark"]["target"]) == (["all", "dark"], "Secret goal", None)
    shown = _goals(client.get("/v1/users/u1/progress?reveal=true"))
    assert (list(shown), shown["dark"]["name"], shown["dark"]["target"]) == (["all", "quiet", "dark"], "Dark", 3)


def test_an_answer_takes_one_read_of_redis_and_one_more_for_attributes(stack):
    stack.post(stack.event("login"))
    _attributes(stack).replace("t1", "u1", {"plan": "pro"})
    calls = []

    def count(client):
        before = stack.redis.info("commandstats")
        client.get("/v1/users/u1/progress?tenant_id=t1")
        after = stack.redis.info("commandstats")
        names = ("cmdstat_hgetall", "cmdstat_getex", "cmdstat_get", "cmdstat_set")
        calls.append([after.get(n, {"calls": 0})["calls"] - before.get(n, {"calls": 0})["calls"] for n in names])

    count(_client(stack))
    count(_for_some(stack))
    assert calls == [[1, 0, 0, 0], [1, 1, 0, 0]]


def _scrape(stack, redis=None, ping=lambda: None):
    collector = FleetCollector(redis or stack.redis, SHARDS, stack.journal, stack.records, ping, stack.clock)
    text = generate_latest(fleet_registry(collector)).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name != "questline_state_memory_bytes"  # differs at each scrape
    }


def test_metrics_are_the_sum_over_all_processes(stack, redis_url):
    for _ in range(3):  # three processes
        metrics = Metrics(connect_state(redis_url))
        metrics.count(EVENTS_ACCEPTED, 5)
        metrics.count(EVENTS_REJECTED, 2, label="too_old")
        metrics.observe(COMMIT_SECONDS, 0.004)
        metrics.push()
    scraped = _scrape(stack)
    assert scraped[("questline_events_accepted_total",)] == 15
    assert scraped[("questline_events_rejected_total", "too_old")] == 6
    assert scraped[("questline_commit_seconds_count",)] == 3
    assert scraped[("questline_commit_seconds_bucket", "0.005")] == 3
    assert scraped[("questline_commit_seconds_bucket", "0.0025")] == 0
    assert scraped[("questline_commit_seconds_sum",)] == pytest.approx(0.012)


def test_metrics_show_how_many_dead_letters_there_are(stack):
    before = _scrape(stack)
    assert not [name for name in before if name[0] == "questline_dead_letter_depth"]
    assert before[("questline_dead_letters_counted_seconds",)] == inf  # an age of 0 would say that somebody counts
    keeper = DepthKeeper(stack.redis, DeadLetterReader(stack.engine), stack.clock)
    store_dead_letters(
        stack.engine, batch_dead_letter(stack.event()), message_dead_letter(b"1"), message_dead_letter(b"2")
    )
    keeper.refresh()
    stack.clock.advance(seconds=9)
    scraped = _scrape(stack)
    assert scraped[("questline_dead_letter_depth", "batch", "evaluation_failed")] == 1
    assert scraped[("questline_dead_letter_depth", "message", "undecodable_message")] == 2
    assert scraped[("questline_dead_letters_counted_seconds",)] == 9
    DeadLetterChanges(stack.engine).discard([1, 2, 3])
    keeper.refresh()
    assert not [name for name in _scrape(stack) if name[0] == "questline_dead_letter_depth"]


def test_metrics_show_what_waits_and_since_when(stack):
    stack.post(stack.event("login"), stack.event("login", event_id="twice"))
    stack.post(stack.event("login", event_id="twice"))
    event = stack.event("login")
    (batch,) = stack.accept(event, event)
    stack.clock.advance(seconds=7)
    scraped = _scrape(stack)
    assert scraped[("questline_journal_batches",)] == 1
    assert scraped[("questline_journal_bytes",)] > 50
    assert scraped[("questline_journal_oldest_seconds",)] == pytest.approx(7, abs=0.01)
    assert scraped[("questline_journal_waiting_seconds",)] == pytest.approx(7, abs=0.01)
    assert scraped[("questline_dirty_users",)] == scraped[("challenge_event_handler_buffer_size",)] == 1
    assert scraped[("questline_flush_waiting_seconds",)] == pytest.approx(7, abs=0.01)
    assert scraped[("challenge_event_handler_events_processed_total",)] == 2
    assert scraped[("questline_events_duplicate_total",)] == 1
    stack.take(batch.shard)
    taken = _scrape(stack)
    assert taken[("questline_journal_oldest_seconds",)] == pytest.approx(7, abs=0.01)
    assert taken[("questline_journal_waiting_seconds",)] == 0
    stack.flusher.flush()
    assert _scrape(stack)[("questline_flush_waiting_seconds",)] == 0


def test_every_metric_has_a_sample_before_anything_happened(stack):
    names = {name for name, *_ in _scrape(stack)}
    assert {metric.name for metric in DECLARED if isinstance(metric, Counter) and metric.label is None} <= names
    assert {f"{metric.name}_count" for metric in DECLARED if isinstance(metric, Histogram)} <= names


def test_a_counter_whose_labels_are_known_has_them_all_before_anything_happened(stack):
    scraped = _scrape(stack)
    for counter in COUNTED:
        if isinstance(counter, Counter) and counter.known:
            found = {key[1]: value for key, value in scraped.items() if key[0] == counter.name}
            assert found == dict.fromkeys(counter.known, 0), counter.name
    stack.metrics.count(DEAD_LETTERS, 2, label="task_failed")
    stack.metrics.count(DEAD_LETTERS, label="of_a_newer_version")
    stack.metrics.push()
    changed = {key: value for key, value in _scrape(stack).items() if scraped.get(key) != value}
    assert changed == {
        ("questline_dead_letters_total", "task_failed"): 2,
        ("questline_dead_letters_total", "of_a_newer_version"): 1,
    }


def test_redis_away_is_a_metric_too(stack):
    away = connect_state("redis://127.0.0.1:1/0")
    scraped = _scrape(stack, away)
    known = {labels: value for labels, value in scraped.items() if labels[0] != "questline_build_info"}
    assert known == {("questline_state_up",): 0}


def test_a_broker_that_is_away_or_refuses_us_leaves_what_the_state_redis_tells(stack, redis_url):
    stack.accept(stack.event("login"))
    stack.metrics.count(PUBLISH_FAILURES, 3)
    stack.metrics.push()
    whole = _scrape(stack)
    assert whole[("questline_publish_failures_total",)] == 3
    refused = f"redis://:not-the-password@{urlsplit(redis_url).netloc.rpartition('@')[2]}/0"
    for url in ("redis://127.0.0.1:1/0", refused):
        scraped = _scrape(stack, ping=Broker(url).ping)
        assert len({key for key in whole if key[0] == "questline_queue_length"}) == SHARDS
        assert scraped == whole | {("questline_broker_up",): 0}
        assert scraped[("questline_state_up",)] == whole[("questline_broker_up",)] == 1


def test_what_could_not_be_pushed_is_pushed_later(redis_url, redis):
    metrics = Metrics(connect_state("redis://127.0.0.1:1/0"))
    metrics.count(EVENTS_ACCEPTED, 3)
    metrics.push()
    metrics._redis = redis
    metrics.push()
    assert redis.hget("ql:meters", "questline_events_accepted_total") == b"3"
