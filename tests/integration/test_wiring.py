"""The composition root: what it builds does what the settings say."""

import pytest

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE
from models.errors import ConfigurationError, InvalidChallengesError
from models.hot.journal import Batch
from models.hot.records import Records
from tests.stack import SHARDS, WINDOW
from worker.broker import BatchPublisher, QueuePeek
from worker.celery_app import make_app
from worker.receiving import make_receiver_parts
from worker.wiring import backlog, build_runtime, flush_trigger, load_rulebook


@pytest.fixture
def settings(redis_url, database_url, monkeypatch):
    """Settings of an installation on the test servers."""
    host, _, rest = database_url.rpartition("@")[2].partition(":")
    port, _, name = rest.partition("/")
    user, _, password = database_url.removeprefix("postgresql://").partition("@")[0].partition(":")
    for key, value in {
        "STATE_URL": redis_url, "DB_HOST": host, "DB_PORT": port, "DB_NAME": name, "DB_USER": user,
        "DB_PASSWORD": password, "SHARDS": str(SHARDS), "BUFFER_MAX_SIZE": "20",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    return Settings()


def test_too_many_dirty_users_start_a_flush_at_once_and_only_once_a_second(stack, redis, settings):
    records = Records(redis, window=WINDOW, record_ttl=settings.record_ttl)
    check = flush_trigger(settings, BatchPublisher(make_app(settings)), redis, records)
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
    check = flush_trigger(away, BatchPublisher(make_app(away)), redis, records)
    stack.post(*(stack.event("login", f"u{n}") for n in range(30)))
    check(30)


def test_the_backlog_is_what_postgresql_lacks(stack, settings):
    assert backlog(settings) == 0
    stack.post(stack.event("login"))
    assert backlog(settings) == 2  # a dirty user and a log entry
    stack.accept(stack.event("login"))
    assert backlog(settings) == 3
    stack.flusher.flush()
    assert backlog(settings) == 1


def test_the_peek_counts_what_is_queued_for_each_shard(redis, settings):
    publisher, peek = BatchPublisher(make_app(settings)), QueuePeek(settings.broker)
    assert peek.lengths(SHARDS) == [0, 0, 0, 0]
    publisher.publish([Batch(1, "one", b"\x90"), Batch(1, "two", b"\x90"), Batch(2, "three", b"\x90")])
    assert peek.lengths(SHARDS) == [0, 2, 1, 0]


def test_a_runtime_applies_and_flushes_with_the_published_versions(stack, settings):
    app = make_app(settings)
    runtime = build_runtime(settings, app, load_rulebook(settings))
    try:
        batch = stack.accept(stack.event("login"))[0]
        runtime.applier.work(batch.shard, batch.batch_id, batch.packed)
        assert runtime.flusher.flush().events == 1
        assert stack.count("rule_versions") == len(runtime.applier.rulebook().goals)
    finally:
        runtime.meters.stop()


def test_the_receivers_parts_answer_for_their_dependencies(stack, settings):
    parts = make_receiver_parts(settings, make_app(settings), load_rulebook(settings))
    for check in (*parts.needed.values(), *parts.useful.values()):
        check()
    stack.post(stack.event("login"))
    shown = {goal.goal_id: goal for goal in parts.progress.progress("t1", "u1").goals}
    assert shown["daily-login"].rule_version == 1


def test_a_challenges_file_that_is_missing_or_wrong_stops_the_start(settings, tmp_path):
    missing = settings.model_copy(update={"challenges_file": tmp_path / "none.json"})
    with pytest.raises(ConfigurationError, match=r"CHALLENGES_FILE.*none\.json"):
        load_rulebook(missing)
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"challenges": []}')
    with pytest.raises(InvalidChallengesError, match=r"wrong\.json"):
        load_rulebook(settings.model_copy(update={"challenges_file": wrong}))
