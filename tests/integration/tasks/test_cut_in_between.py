"""What is cut off between two steps, refused for everybody, or known to have taken effect, harms no good event."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from config.shards import shard_for
from ingest.validation import time_fault, window_at
from models.database.connection import with_access
from models.errors import DatabaseUnavailableError, JournalFullError
from models.events import pack_batch
from models.fleet.probes import Station
from models.state.keys import dedup_bucket_at, member, record_key, shard_keys
from models.state.queue.batches import Batch
from tests.support.journal import journaled_batches
from tests.support.stack import SHARDS, WINDOW, Stack

WINDOW_US = WINDOW // timedelta(microseconds=1)


def replies_lost(script, times):
    """The script; its first answers do not arrive, though it was run."""
    left = [times]

    def call(**options):
        answer = script(**options)
        if left[0]:
            left[0] -= 1
            raise RedisTimeoutError("Timeout reading from socket")
        return answer

    return call


def test_what_workers_wait_for_postgresql_with_closes_no_shard(redis, engine):
    """PostgreSQL is away: cold users wait for it, and the shard stays open for the others."""
    stack = Stack(redis, engine, max_age=timedelta(minutes=15))
    stack.accept(stack.event("login"))
    stack.take()
    stack.clock.advance(minutes=16)
    stack.accept(stack.event("login"))  # would raise JournalFullError
    stack.clock.advance(minutes=16)
    with pytest.raises(JournalFullError):  # no worker was given that one
        stack.accept(stack.event("login"))
    stack.catch_up_work()
    stack.try_again()
    assert stack.progress()[("logins", "")] == (2, False)
    assert journaled_batches(redis, SHARDS) == []


def rename(engine, table, name):
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


@pytest.fixture
def without_a_table(engine):
    """The schema of another release, until told."""
    rename(engine, "user_goal_progress", "elsewhere")
    back = [True]

    def repair():
        if back.pop() if back else False:
            rename(engine, "elsewhere", "user_goal_progress")

    yield repair
    repair()


def test_a_wrong_schema_is_not_the_fault_of_events(stack, without_a_table):
    stack.accept(stack.event("login"))
    stack.catch_up_work()
    for _ in range(2 * stack.max_attempts):
        stack.try_again()
    assert stack.count("dead_letters") == 0
    without_a_table()
    stack.try_again()
    assert stack.progress()[("logins", "")] == (1, False)


def test_a_wrong_schema_is_not_the_fault_of_rows(stack, engine):
    stack.post(stack.event("login"))
    rename(engine, "user_goal_progress", "elsewhere")
    try:
        with pytest.raises(DatabaseUnavailableError):
            stack.flusher.flush()
        assert stack.count("dead_letters") == 0
    finally:
        rename(engine, "elsewhere", "user_goal_progress")
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)


def test_a_database_that_only_reads_for_now_is_not_the_fault_of_rows(stack, engine):
    stack.post(stack.event("login"))
    stack.writer._engine = with_access(engine, "read")
    with pytest.raises(DatabaseUnavailableError):
        stack.flusher.flush()
    stack.writer._engine = engine
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)
    assert stack.count("dead_letters") == 0


@pytest.mark.parametrize("wiped", [False, True])
def test_an_event_that_was_redriven_late_is_known_from_then_on(stack, redis, wiped):
    redriven = stack.event("login", event_id="e1")
    stack.clock.advance(days=6)
    stack.post(redriven)
    stack.flusher.flush()
    if wiped:
        redis.flushall()
    stack.clock.advance(days=6)
    stack.post(stack.event("login", event_id="e1"))
    assert stack.progress()[("logins", "")] == (1, False)


def end_of_dedup_bucket(now):
    """The last microsecond of the dedup bucket of a time."""
    low, high = now, now + 4 * WINDOW_US
    while high - low > 1:
        middle = (low + high) // 2
        is_same = dedup_bucket_at(middle, WINDOW) == dedup_bucket_at(now, WINDOW)
        low, high = (middle, high) if is_same else (low, middle)
    return low


@pytest.mark.parametrize("wiped", [False, True])
def test_an_event_is_known_for_as_long_as_it_is_taken(stack, redis, wiped):
    """Its sender's clock is ahead, it comes at the end of a dedup bucket, and comes again as late as it may."""
    stack.clock.now = end_of_dedup_bucket(stack.clock.now)
    ahead = stack.clock() + timedelta(minutes=5) // timedelta(microseconds=1)
    early = stack.event("login")._replace(occurred_at=ahead)
    stack.post(early)
    stack.flusher.flush()
    if wiped:
        redis.flushall()
    stack.clock.advance(days=7, minutes=4)
    assert time_fault(early.occurred_at, window_at(stack.clock(), WINDOW)) is None
    again = stack.accept(early)
    stack.clock.advance(hours=6)  # its worker was long away
    stack.apply(*again)
    assert stack.progress()[("logins", "")] == (1, False)


def test_a_clock_that_is_weeks_behind_a_record_is_not_the_fault_of_events(stack):
    stack.clock.advance(days=20)
    stack.post(stack.event("login"))
    stack.clock.advance(days=-20)
    [batch] = stack.accept(stack.event("login"))
    stack.apply(batch)
    for _ in range(2 * stack.max_attempts):
        stack.try_again()
    assert stack.count("dead_letters") == 0
    assert "the clock is behind" in stack.path.fault(Station.APPLY, stack.clock()).error
    stack.clock.advance(days=20)
    stack.try_again()
    assert stack.progress()[("logins", "")] == (2, False)


def test_garbage_that_kills_its_workers_is_given_up_like_others(stack):
    garbage = stack.event("login")._replace(tenant_id=["t"], user_id={"u": 1})
    [batch] = stack.journal.append([Batch(0, "garbage", pack_batch([garbage]))], stack.clock() // 1000).accepted
    stack.apply(batch, deliveries=stack.max_attempts + 1)
    assert stack.count("dead_letters") == 1
    assert journaled_batches(stack.redis, SHARDS) == []


def test_users_whose_records_redis_evicted_hold_up_no_flush(redis, engine, monkeypatch):
    """With another maxmemory-policy than noeviction; what they had is lost, the others' progress is not."""
    stack = Stack(redis, engine, batch_size=2)
    shard = shard_for("t1", "u1", SHARDS)
    redis.zadd(shard_keys(shard).dirty, {"t1:a": 1, "t1:b": 2, "t1:c": 3})
    stack.post(stack.event("login"))
    passes = iter(range(20))
    read = stack.records.dirty_members
    monkeypatch.setattr(stack.records, "dirty_members", lambda *args: (next(passes), read(*args))[1])
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)
    assert stack.records.dirty_counts(SHARDS) == [0] * SHARDS


def passes_of(stack, monkeypatch):
    """Counts how often a flush looks at a shard; a flush that would go on for ever fails instead."""
    left, read = iter(range(30)), stack.shard_log.lengths
    monkeypatch.setattr(stack.shard_log, "lengths", lambda *args: (next(left), read(*args))[1])


def evict(stack, user="u1"):
    shard = shard_for("t1", user, SHARDS)
    assert stack.redis.delete(record_key(shard, member("t1", user)))
    return shard


def test_a_record_evicted_while_it_was_flushed_leaves_no_half_record(stack, monkeypatch):
    stack.post(stack.event("login"))
    begin = stack.writer.begin

    @contextmanager
    def evicted(flush):
        monkeypatch.undo()
        with begin(flush) as transaction:
            yield transaction
        stack.post(stack.event("login"))  # so that its mark is newer than what was read
        evict(stack)

    monkeypatch.setattr(stack.writer, "begin", evicted)
    stack.flusher.flush()
    stack.flusher.flush()
    assert stack.records.dirty_counts(SHARDS) == [0] * SHARDS
    stack.post(stack.event("login"))
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (2, False)  # the change in between is lost, as the policy has it


@pytest.mark.parametrize("fields", [{"@dirty": 1, "@flushed": 1}, {"@loaded": "?1"}])
def test_a_record_that_is_not_loaded_holds_up_no_flush(redis, engine, monkeypatch, fields):
    stack = Stack(redis, engine, batch_size=2)
    shard = shard_for("t1", "u1", SHARDS)
    for name in ("t1:a", "t1:b", "t1:c"):
        redis.hset(record_key(shard, name), mapping=fields)
        redis.zadd(shard_keys(shard).dirty, {name: 1})
    stack.post(stack.event("login"))
    passes_of(stack, monkeypatch)
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (1, False)
    assert stack.records.dirty_counts(SHARDS) == [0] * SHARDS
    assert redis.exists(record_key(shard, "t1:a")) == ("@loaded" in fields)  # a load under way goes on


def test_a_record_that_was_evicted_and_loaded_again_holds_up_no_flush(redis, engine, monkeypatch):
    stack = Stack(redis, engine, batch_size=1)
    again = stack.event("login")
    stack.post(again)
    stack.flusher.flush()
    stack.post(stack.event("login"))
    evict(stack)
    stack.post(again)  # loads the record and changes nothing
    passes_of(stack, monkeypatch)
    stack.flusher.flush()
    assert stack.records.dirty_counts(SHARDS) == [0] * SHARDS
    stack.post(stack.event("login"))
    stack.flusher.flush()
    assert stack.rows()[("logins", "")] == (2, False)
