"""The composition root: what it builds does what the settings say."""

import json

import pytest

from api.progress.shapes import UserProgress
from cli.client.ports import free_port
from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE
from models.database.api_keys import Rights, create_key, revoke_key
from models.database.rules.publisher import PICK_UP_US, Document, Publisher
from models.errors import ConfigurationError, InvalidChallengesError, UnauthenticatedError
from models.failpoints import now_us
from models.rules.challenge_file.parser import parse_challenges
from models.state.connection import connect_state
from models.state.keys import METRICS
from models.state.progress.records import Records
from tasks.apply.applier import EVENT_ATTEMPTS, ShardWork
from tasks.broker.publisher import FlushRequests
from tasks.rules.source import rule_source
from tests.support.publication import PastFences, leave_to_text, publish
from tests.support.servers import wait_until
from tests.support.stack import SHARDS, WINDOW
from worker.celery_app import make_app
from worker.early_flush import EarlyFlush
from worker.receiver.composition import make_receiver_parts
from worker.wiring import backlog, build_runtime, load_rulebook, own_challenges, read_challenges

DAY_US = 86_400_000_000


@pytest.fixture
def settings(installation, monkeypatch):
    """Settings of an installation on the test servers."""
    monkeypatch.setenv("SHARDS", str(SHARDS))
    monkeypatch.setenv("BUFFER_MAX_SIZE", "20")
    return Settings()


def test_too_many_dirty_users_start_a_flush_at_once_and_only_once_a_second(stack, redis, settings):
    records = Records(redis, window=WINDOW, record_ttl=settings.record_ttl)
    check = EarlyFlush(settings, FlushRequests(make_app(settings)), redis, records).note
    stack.post(*(stack.event("login", f"u{n}") for n in range(20)))
    check(20)
    assert redis.llen(MAINTENANCE_QUEUE) == 0
    stack.post(stack.event("login", "one too many"))
    check(1)  # this shard is far below its share of the limit
    assert redis.llen(MAINTENANCE_QUEUE) == 0
    check(21)
    check(21)
    assert redis.llen(MAINTENANCE_QUEUE) == 1
    stack.flusher.flush()
    check(21)
    assert redis.llen(MAINTENANCE_QUEUE) == 1


def test_a_broker_that_is_away_does_not_fail_the_batch_that_wanted_a_flush(stack, redis, settings):
    away = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    records = Records(redis, window=WINDOW, record_ttl=settings.record_ttl)
    check = EarlyFlush(away, FlushRequests(make_app(away)), redis, records).note
    stack.post(*(stack.event("login", f"u{n}") for n in range(30)))
    check(30)


def test_a_redis_that_blinks_does_not_fail_the_batch_that_wanted_a_flush(settings):
    away = connect_state("redis://127.0.0.1:1/0")
    records = Records(away, window=WINDOW, record_ttl=settings.record_ttl)
    EarlyFlush(settings, FlushRequests(make_app(settings)), away, records).note(30)


def test_the_backlog_is_what_postgresql_lacks(stack, settings):
    assert backlog(settings) == 0
    stack.post(stack.event("login"))
    assert backlog(settings) == 2  # a dirty user and a log entry
    stack.accept(stack.event("login"))
    assert backlog(settings) == 3
    stack.flusher.flush()
    assert backlog(settings) == 1


def test_a_runtime_applies_and_flushes_with_the_published_versions(stack, settings):
    app = make_app(settings)
    runtime = build_runtime(settings, app, read_challenges(settings))
    try:
        _apply(stack, runtime, stack.event("login"))
        assert runtime.flusher.flush().events == 1
        assert stack.count("rule_versions") == len(
            runtime.applier.evaluator.rules.matcher().publications.newest.rulebook.goals
        )
    finally:
        runtime.watcher.stop()
        runtime.metrics.stop()


@pytest.mark.parametrize("days", [-20, 20])
def test_a_worker_whose_own_clock_is_weeks_off_counts_like_the_others(stack, settings, monkeypatch, days):
    stack.clock.now = now_us()
    healthy = build_runtime(settings, make_app(settings), read_challenges(settings))
    monkeypatch.setattr("worker.wiring.now_us", lambda: now_us() + days * 86_400_000_000)
    wrong = build_runtime(settings, make_app(settings), read_challenges(settings))
    try:
        events = [stack.event("login", event_id=f"e{number}") for number in range(3)]
        for runtime, event in zip((healthy, wrong, healthy), events, strict=True):
            _apply(stack, runtime, event)
        for runtime in (healthy, wrong):  # all of them come again
            for event in events:
                _apply(stack, runtime, event)
            runtime.flusher.flush()
        assert (stack.count("events"), stack.count("dead_letters")) == (3, 0)
        assert max(progress for progress, _ in stack.rows().values()) == 3
    finally:
        for runtime in (healthy, wrong):
            runtime.watcher.stop()
            runtime.metrics.stop()


def test_a_runtime_goes_over_to_a_new_publication_without_a_restart(stack, settings, tmp_path):
    runtime = build_runtime(settings, make_app(settings), read_challenges(settings))
    try:
        _apply(stack, runtime, stack.event("login", "before"))
        publisher = Publisher(stack.engine, PastFences(stack.redis, settings.shards))
        done = publisher.publish(_changed(settings, "daily-login"), now_us=now_us() - 2 * PICK_UP_US)
        assert done is not None
        assert [goal.goal_id for goal in done.goals if goal.is_new] == ["daily-login"]
        wait_until(lambda: runtime.applier.evaluator.rules.matcher().publications.newest.revision == 2, seconds=5)
        stack.clock.now = now_us()
        _apply(stack, runtime, stack.event("login", "after"))
        runtime.flusher.flush()
        with stack.engine.connect() as connection:
            events = connection.exec_driver_sql("SELECT user_id, rules_revision FROM events ORDER BY 1").all()
            versions = connection.exec_driver_sql(
                "SELECT user_id, rule_version FROM user_goal_progress WHERE goal_id = 'daily-login' ORDER BY 1"
            ).all()
        assert [tuple(row) for row in events] == [("after", 2), ("before", 1)]
        assert [tuple(row) for row in versions] == [("after", 2), ("before", 1)]
    finally:
        runtime.watcher.stop()
        runtime.metrics.stop()


def _changed(settings, goal_id):
    """The challenges file with another target for one goal."""
    content = json.loads(settings.challenges_file.read_bytes())
    for challenge in content["challenges"]:
        for goal in challenge["goals"]:
            if goal["id"] == goal_id:
                goal["requirement"]["target"] += 1
    changed = json.dumps(content).encode()
    return Document(changed, parse_challenges(changed, "changed"), "changed")


def _apply(stack, runtime, event):
    stack.accept(event)
    runtime.applier.work([ShardWork(*work) for work in stack.take().items()])


def test_while_no_publication_can_be_read_events_wait_and_none_is_blamed(stack, settings):
    own, long_ago = read_challenges(settings), now_us() - 30 * DAY_US
    publish(stack.engine, own, now_us=long_ago)
    publish(stack.engine, Document(b"of a newer release", own.rulebook, "newer"), now_us=long_ago + DAY_US)
    leave_to_text(stack.engine, 2)
    runtime = build_runtime(settings, make_app(settings), own)
    try:
        for name in ("e1", "e2"):
            _apply(stack, runtime, stack.event("login", event_id=name))
        for _ in range(EVENT_ATTEMPTS + 1):
            for shards in stack.returned():
                runtime.applier.work([ShardWork(*work) for work in shards.items()])
        runtime.metrics.push()
        assert (stack.count("dead_letters"), stack.progress()) == (0, {})
        assert [batch.deliveries for work in stack.returned() for one in work.values() for batch in one] == [2, 2]
        assert float(stack.redis.hget(METRICS, "questline_batches_postponed_total{RulesUnreadableError}")) > 0
        publish(stack.engine, Document(own.content + b" ", own.rulebook, "own"), now_us=long_ago + 2 * DAY_US)
        for shards in stack.returned():
            runtime.applier.work([ShardWork(*work) for work in shards.items()])
        assert ("daily-login", "2026-11-21") in stack.progress()
    finally:
        runtime.watcher.stop()
        runtime.metrics.stop()


def test_a_file_that_was_published_before_is_not_taken_up_again_by_a_start(stack, settings):
    older = read_challenges(settings)
    publish(stack.engine, older, now_us=now_us())
    publish(stack.engine, Document(b" " + older.content, older.rulebook, "newer"), now_us=now_us())
    assert rule_source(settings, stack.redis, older, now_us).newest().revision == 2


def test_the_receivers_parts_answer_for_their_dependencies(stack, settings):
    parts = make_receiver_parts(settings, read_challenges(settings))
    parts.keys.refresh()
    assert {name for name, said in parts.readiness.answers().items() if said != "ok"} == {
        "path"
    }  # no probe was sent yet
    stack.post(stack.event("login"))
    parts.watcher.refresh()
    answer = parts.progress.from_redis("t1", "u1", reveal=False)
    assert isinstance(answer, UserProgress)
    shown = {goal.goal_id: goal for goal in answer.goals}
    assert shown["daily-login"].rule_version == 1


def test_a_receiver_whose_writing_thread_ended_is_not_ready(stack, settings, monkeypatch):
    parts = make_receiver_parts(settings, read_challenges(settings))
    parts.keys.refresh()
    monkeypatch.setattr(parts.committer, "_next_group", lambda: 1 / 0)
    parts.committer.start()
    parts.committer._thread.join(5)
    assert not parts.readiness.is_ready()
    assert parts.readiness.answers()["commit"] == "the thread that writes events has ended: start the receiver again"


def test_callers_who_hold_every_connection_delay_neither_the_keys_nor_the_readiness(stack, settings):
    parts = make_receiver_parts(settings, read_challenges(settings))
    pool = parts.progress.reader._engine.pool
    held = [pool.connect() for _ in range(8)]
    made, _ = create_key(stack.engine, Rights("t1", "read"))
    parts.keys.refresh()
    assert parts.keys.key_store().check(made.text, 0)
    revoke_key(stack.engine, made.key_id)
    parts.keys.refresh()
    with pytest.raises(UnauthenticatedError):
        parts.keys.key_store().check(made.text, now_us())
    assert parts.readiness.answers()["database"] == "ok"
    for connection in held:
        connection.close()


def test_a_challenges_file_that_is_missing_or_wrong_stops_the_start(settings, tmp_path):
    missing = settings.model_copy(update={"challenges_file": tmp_path / "none.json"})
    with pytest.raises(ConfigurationError, match=r"CHALLENGES_FILE.*none\.json"):
        load_rulebook(missing)
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"challenges": []}')
    with pytest.raises(InvalidChallengesError, match=r"wrong\.json"):
        load_rulebook(settings.model_copy(update={"challenges_file": wrong}))


def test_a_process_parses_its_challenges_file_only_where_it_was_never_published(stack, settings, monkeypatch):
    content = settings.challenges_file.read_bytes()
    parsed: list[bytes] = []

    def parse(text, *names, **bounds):
        parsed.append(text)
        return parse_challenges(text, *names, **bounds)

    monkeypatch.setattr("tasks.rules.publications.parse_challenges", parse)
    publish(stack.engine, own_challenges(settings), now_us=now_us())
    assert parsed == [content]
    again = own_challenges(settings)
    assert rule_source(settings, stack.redis, again, now_us).load().newest.rulebook.by_id
    assert parsed == [content]
    nowhere = settings.model_copy(update={"db_host": "127.0.0.1", "db_port": free_port()})
    assert own_challenges(nowhere).rulebook == again.rulebook
    assert parsed == [content] * 3
