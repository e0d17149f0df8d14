"""Read, write, acknowledge: what a flush guarantees, on a real Redis and a real PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random
from threading import Barrier
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import event as sa_event

from ingest.schema import Identifier
from models.database.connection import connect_database
from models.database.dead_letters.filter import DeadLetterFilter
from models.database.dead_letters.reader import DeadLetterReader
from models.database.flush.refused_rows import RowRewriter
from models.database.flush.writer import FlushWriter
from models.errors import DatabaseUnavailableError
from models.events import pack_batch
from models.rules.forms.values import Id
from models.rules.goals import Rulebook
from models.state.flush_reads import ReadTrace
from models.state.keys import FLUSH_LOCK
from tests.support.stack import NOON, SHARDS, Stack, goal


def test_a_flush_brings_rows_events_and_unlocks_to_postgresql(stack):
    stack.post(stack.event("login", payload=b'{"device":"phone"}'), stack.event("workout", value=12.5))
    report = stack.flusher.flush()
    assert (report.rows, report.events, report.refused) == (3, 2, 0)
    assert stack.rows() == {
        ("daily-login", "2026-11-21"): (1, True),
        ("logins", ""): (1, False),
        ("minutes", ""): (12.5, False),
    }
    assert (stack.count("events"), stack.count("unlocks")) == (2, 1)


def test_a_flush_leaves_nothing_dirty_and_the_next_writes_nothing(stack):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    assert sum(stack.records.dirty_counts(SHARDS)) + sum(stack.shard_log.lengths(SHARDS)) == 0
    assert stack.flusher.flush().transactions == 0


def test_a_change_between_read_and_acknowledgement_stays_dirty(stack):
    stack.post(stack.event("login"))
    shard = next(n for n, dirty in enumerate(stack.records.dirty_counts(SHARDS)) if dirty)
    read = stack.records.read_dirty(shard, stack.records.dirty_members(shard, 10), ReadTrace(shard), oldest={})
    stack.post(stack.event("login"))
    assert stack.records.acknowledge(shard, read, read_us=stack.clock(), token="") == 0
    assert stack.records.dirty_counts(SHARDS)[shard] == 1
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (2, False)


def test_a_flush_cut_off_before_acknowledging_is_repeated_without_harm(stack, monkeypatch):
    stack.post(stack.event("login"))
    with monkeypatch.context() as cut:
        cut.setattr(type(stack.records), "acknowledge", _cut_off)
        with pytest.raises(ConnectionResetError):
            stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)
    assert (stack.count("events"), stack.count("unlocks")) == (1, 1)


def _cut_off(*_arguments, **_options):
    raise ConnectionResetError


def test_an_older_version_never_overwrites_a_newer_row(stack):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE user_goal_progress SET stamp = stamp + 1000000, progress = 99")
    stack.post(stack.event("login"))
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (99, False)


def test_postgresql_away_loses_nothing_and_keeps_the_marks(stack):
    stack.post(stack.event("login"))
    away = connect_database("postgresql://nobody:x@127.0.0.1:1/none")
    good, bad = stack.flusher, FlushWriter(away, batch_size=10)
    object.__setattr__(good, "writer", bad)
    with pytest.raises(DatabaseUnavailableError):
        good.flush()
    assert sum(stack.records.dirty_counts(SHARDS)) == 1
    object.__setattr__(good, "writer", stack.writer)
    good.flush()
    assert stack.rows()[("logins", "")] == (1, False)


def test_a_row_postgresql_refuses_is_kept_aside_and_the_others_land(stack):
    with stack.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE user_goal_progress ADD CONSTRAINT ck_test_bad CHECK (user_id <> 'bad')")
    try:
        stack.post(*(stack.event("login", user) for user in ("a", "bad", "c", "d")))
        report = stack.flusher.flush()
    finally:
        with stack.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE user_goal_progress DROP CONSTRAINT ck_test_bad")
    assert report.refused == 2
    assert all(stack.rows(user) for user in ("a", "c", "d"))
    with stack.engine.connect() as connection:
        dead_letters = connection.exec_driver_sql("SELECT kind, user_id, reason, error FROM dead_letters").all()
    assert {(dead_letter.kind, dead_letter.user_id, dead_letter.reason) for dead_letter in dead_letters} == {
        ("row", "bad", "refused_by_postgresql")
    }
    assert "ck_test_bad" in dead_letters[0].error
    assert stack.flusher.flush().transactions == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"occurred_at": "no time"},
        {"occurred_at": None},
        {"occurred_at": 10**18},
        {"occurred_at": -(2**63)},
        {"payload": "{}"},
        {"attributes": 1},
        {"value": "much"},
        {"value": {}},
    ],
)
def test_an_event_of_an_older_release_that_is_none_is_kept_aside_and_the_others_land(stack, wrong):
    events = [stack.event("nobody-asks", "good"), stack.event("nobody-asks", "bad")._replace(**wrong)]
    [shard] = {batch.shard for batch in stack.batches(events[0])}
    stack.evaluator.evaluate(shard, events, pack_batch(events), [], may_load=True)
    assert stack.flusher.flush().refused == 1
    assert stack.shard_log.lengths(SHARDS) == [0] * SHARDS
    with stack.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT user_id FROM events").scalars().all() == ["good"]
        [dead_letter] = connection.exec_driver_sql("SELECT kind, reason FROM dead_letters").all()
    assert tuple(dead_letter) == ("event", "refused_by_postgresql")


def test_ids_that_cannot_be_put_in_order_do_not_stop_a_flush(stack):
    events = [stack.event("nobody-asks"), stack.event("nobody-asks")._replace(tenant_id=5)]
    [shard] = {batch.shard for batch in stack.batches(events[0])}
    stack.evaluator.evaluate(shard, events, pack_batch(events), [], may_load=True)
    stack.flusher.flush()
    assert stack.shard_log.lengths(SHARDS) == [0] * SHARDS
    assert (stack.count("events"), stack.count("dead_letters")) == (2, 0)


def test_overlapping_flushes_return_at_once(stack, redis):
    stack.post(stack.event("login"))
    redis.set(FLUSH_LOCK, "another")
    assert stack.flusher.flush().overlapped
    redis.delete(FLUSH_LOCK)
    assert stack.flusher.flush().rows == 2


def test_of_two_flushers_without_the_lock_the_one_that_read_later_wins_whoever_commits_first(stack):
    users = [f"u{n}" for n in range(50)]
    other = Stack(stack.redis, stack.engine, clock=stack.clock).flusher
    stack.post(*(stack.event("login", user) for user in users))
    older = list(stack.flusher._groups())
    stack.post(*(stack.event("login", user) for user in users))
    newer = list(other._groups())
    for flusher, groups in ((other, newer), (stack.flusher, older)):
        for group in groups:
            flusher._commit(group)
    assert stack.count("events") == 100
    assert stack.count("unlocks") == 50
    assert {stack.rows(user)[("logins", "")] for user in users} == {(2, False)}
    assert stack.flusher.flush().transactions == 0


def test_two_flushers_without_the_lock_at_the_same_moment_write_everything_once(stack):
    users = [f"u{n}" for n in range(50)]
    others = [Stack(stack.redis, stack.engine, clock=stack.clock).flusher for _ in range(2)]
    stack.post(*(stack.event("login", user) for user in users))
    read = [(flusher, list(flusher._groups())) for flusher in others]
    together = Barrier(2, timeout=20)

    def commit(flusher, groups):
        together.wait()
        for group in groups:
            flusher._commit(group)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(commit, *one) for one in read]:
            done.result()
    assert (stack.count("events"), stack.count("unlocks")) == (50, 50)
    assert {stack.rows(user)[("logins", "")] for user in users} == {(1, False)}
    assert stack.flusher.flush().transactions == 0


@pytest.mark.parametrize("passes", [1, 2])
def test_a_flush_that_lost_its_lock_was_no_whole_flush(stack, redis, monkeypatch, passes):
    stack.post(stack.event("login"))
    left = [True] * (passes - 1) + [False]
    monkeypatch.setattr(type(stack.flusher), "_pass", lambda *_: (redis.set(FLUSH_LOCK, "another"), left.pop(0))[1])
    assert stack.flusher.flush().overlapped


def test_a_flush_drains_more_than_one_batch(redis, engine):
    stack = Stack(redis, engine, batch_size=7)
    for _ in range(3):
        stack.post(*(stack.event("login", f"u{n}") for n in range(100)))
    report = stack.flusher.flush()
    assert report.transactions > 1
    assert sum(stack.records.dirty_counts(SHARDS)) + sum(stack.shard_log.lengths(SHARDS)) == 0
    assert stack.count("events") == 300
    assert all(stack.rows(f"u{n}")[("logins", "")] == (3, True) for n in range(100))


def test_statements_are_one_a_batch_not_one_a_row(stack):
    statements = []
    sa_event.listen(stack.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    stack.post(*(stack.event("login", f"u{n}") for n in range(200)))
    stack.flusher.flush()
    assert sum("INSERT INTO user_goal_progress" in text for text in statements) == 1


def test_rows_of_past_periods_leave_redis_once_flushed_and_stay_in_postgresql(stack):
    stack.post(stack.event("login"))
    stack.flusher.flush()
    stack.clock.advance(days=10)
    stack.post(stack.event("login"))
    stack.flusher.flush()
    assert {period for goal, period in stack.progress() if goal == "daily-login"} == {"2026-12-01"}
    assert {period for goal, period in stack.rows() if goal == "daily-login"} == {"2026-11-21", "2026-12-01"}


def test_an_unlock_names_the_event_that_made_it(stack):
    stack.post(
        stack.event("login", event_id="first"), stack.event("login", event_id="second", at=NOON - timedelta(minutes=5))
    )
    stack.flusher.flush()
    with stack.engine.connect() as connection:
        unlock = connection.exec_driver_sql("SELECT * FROM unlocks").one()
    assert (unlock.goal_id, unlock.period, unlock.event_id) == ("daily-login", "2026-11-21", "first")


def longest_id(seed, shape):
    """An id as long as may be, of dead letters that take four bytes each and do not compress."""
    dead_letters = Random(seed)
    return TypeAdapter(shape).validate_python(
        "".join(chr(dead_letters.randrange(0x20000, 0x2A6DF)) for _ in range(256))
    )


def test_a_row_whose_ids_are_too_long_for_an_index_is_kept_aside_and_the_others_land(redis, engine):
    stack = Stack(redis, engine, rulebook=Rulebook((goal(longest_id(3, Id), "count", "login"),)))
    user = longest_id(1, Identifier)
    stack.post(stack.event("login", user, event_id=longest_id(2, Identifier)), stack.event("login"))
    report = stack.flusher.flush()
    assert report.refused == 1
    assert (stack.count("events"), stack.count("unlocks"), stack.count("evaluations")) == (2, 2, 1)
    with stack.engine.connect() as connection:
        dead_letter = connection.exec_driver_sql("SELECT kind, user_id, reason, error FROM dead_letters").one()
    assert (dead_letter.kind, dead_letter.user_id, dead_letter.reason) == ("evaluation", user, "refused_by_postgresql")
    assert "exceeds btree" in dead_letter.error
    [head] = DeadLetterReader(engine).newest(DeadLetterFilter())
    stored = DeadLetterReader(engine).dead_letter(head.id)
    assert stored
    assert "exceeds btree" in (RowRewriter(engine).rewrite(stored) or "")
    assert sum(stack.records.dirty_counts(SHARDS)) + sum(stack.shard_log.lengths(SHARDS)) == 0


def test_a_postgresql_whose_host_has_vanished_holds_a_connection_no_longer_than_half_a_minute(engine):
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.get_dsn_parameters()["tcp_user_timeout"] == "30000"
