"""What may wait between accepting an event and having it in PostgreSQL is bounded, shard by shard, and recovers."""

import re
from datetime import timedelta
from threading import Thread

import pytest

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE, shard_for
from models.errors import Bound, JournalFullError
from models.state.keys import shard_keys
from models.state.queue.batches import Batch
from tasks.broker.publisher import MAX_TICKS, FlushRequests
from tests.support.servers import wait_until
from tests.support.stack import SHARDS, Stack
from worker.celery_app import make_app
from worker.parts import make_journal
from worker.scheduler import BoundedScheduler

HERE = shard_for("t1", "u1", SHARDS)
NEIGHBOURS = [user for user in (f"n{number}" for number in range(60)) if shard_for("t1", user, SHARDS) == HERE]
ELSEWHERE = next(user for user in (f"e{number}" for number in range(60)) if shard_for("t1", user, SHARDS) != HERE)


def refused(stack, user="u1") -> dict[int, Bound]:
    """The bound that refuses an event of this user; nothing where it is taken."""
    try:
        stack.accept(stack.event("login", user=user))
    except JournalFullError as error:
        return error.full
    return {}


def test_a_batch_that_fits_exactly_is_taken_and_one_byte_more_is_not(redis, engine):
    packed = bytes(100)
    full = Stack(redis, engine, max_bytes=SHARDS * 313)  # of which one tenant that is alone may have four fifths
    now_ms = full.clock() // 1000
    assert full.journal.append([Batch(0, "a", packed), Batch(0, "b", bytes(150))], now_ms).full == {}
    assert full.journal.append([Batch(0, "c", b"x"), Batch(1, "d", packed)], now_ms).full == {0: Bound.TENANT_BYTES}
    assert [state.size for state in full.journal.states(SHARDS)] == [250, 100, 0, 0]


def test_evaluations_and_unlocks_in_the_log_count_too(redis, engine):
    sizes = {}
    for evaluations in ("all", "off"):
        stack = Stack(redis, engine, evaluation_log=evaluations)
        stack.post(*(stack.event("login", event_id=f"{evaluations}-{number}") for number in range(5)))
        key = shard_keys(HERE).log_bytes
        sizes[evaluations] = int(redis.get(key))
        assert sizes[evaluations] == sum(entry.size for entry in stack.shard_log.read(HERE, 100))
        redis.incrby(key, 7)  # as an earlier release may have counted
        stack.flusher.flush()
        assert redis.get(key) is None
    assert sizes["all"] > sizes["off"] + 100


def test_a_shard_whose_batches_no_worker_takes_is_closed_until_one_does(redis, engine):
    stack = Stack(redis, engine, max_age=timedelta(minutes=15))
    waiting = stack.accept(stack.event("login"))
    stack.clock.advance(minutes=15)
    assert refused(stack) == {}  # exactly as old as may be
    stack.clock.advance(milliseconds=1)
    assert refused(stack) == {HERE: Bound.AGE}
    assert refused(stack, ELSEWHERE) == {}
    stack.apply(*waiting)
    assert refused(stack) == {}


def test_a_batch_that_waits_for_its_next_attempt_closes_nothing(redis, engine):
    stack = Stack(redis, engine, max_age=timedelta(minutes=1))
    stack.accept(stack.event("login"))
    stack.take()
    stack.clock.advance(minutes=5)
    assert sum(state.batches for state in stack.journal.states(SHARDS)) == 1
    assert refused(stack) == {}


def test_too_many_users_that_postgresql_lacks_close_the_shard_until_the_flush(redis, engine):
    stack = Stack(redis, engine, max_dirty_users=SHARDS * 2)
    for user in NEIGHBOURS[:2]:
        stack.post(stack.event("login", user=user))
    assert refused(stack) == refused(stack, NEIGHBOURS[0]) == {HERE: Bound.DIRTY_USERS}
    assert refused(stack, ELSEWHERE) == {}
    stack.flusher.flush()
    assert refused(stack) == {}


def test_the_settings_are_the_bounds(redis, stack):
    journal = make_journal(Settings(shards=SHARDS, journal_max_age=timedelta(seconds=1), dirty_max_users=SHARDS), redis)
    now_ms = stack.clock() // 1000
    stack.post(stack.event("login"))
    assert journal.append([Batch(HERE, "a", b"x")], now_ms).full == {HERE: Bound.DIRTY_USERS}
    stack.flusher.flush()
    journal.append([Batch(HERE, "a", b"x")], now_ms)
    assert journal.append([Batch(HERE, "b", b"x")], now_ms + 1001).full == {HERE: Bound.AGE}


@pytest.mark.parametrize("bound", Bound)
def test_a_refusal_says_which_bound_it_was_and_what_to_look_at(bound):
    error = JournalFullError({3: bound, 5: bound})
    assert (error.full, error.bounds) == ({3: bound, 5: bound}, (bound,))
    assert re.search("questline_|maxmemory|[A-Z]+_[A-Z_]+", str(error))


def test_a_slow_postgresql_delays_the_flush_and_not_the_acceptance_until_the_bound(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 3000)
    stack.post(stack.event("login"))
    with engine.connect() as slow:
        slow.exec_driver_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        flush = Thread(target=stack.flusher.flush)
        flush.start()
        wait_until(lambda: _waiting_for_postgresql(engine) > 0)
        accepted = 1
        while not (full := refused(stack)):
            accepted += 1
            stack.catch_up_work()
        assert full == {HERE: Bound.TENANT_BYTES}
        assert flush.is_alive()
        slow.rollback()
    flush.join(30)
    stack.flusher.flush()
    stack.post(stack.event("login"))
    stack.flusher.flush()
    assert stack.count("events") == accepted + 1
    assert stack.rows()[("logins", "")] == (accepted + 1, True)


def _waiting_for_postgresql(engine) -> int:
    with engine.connect() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return int(connection.exec_driver_sql(waiting).scalar_one())


def test_ticks_that_nobody_takes_do_not_pile_up(redis, redis_url, tmp_path):
    with make_app(Settings(broker_url=redis_url, state_url=redis_url, shards=SHARDS)) as app:
        scheduler = BoundedScheduler(app, schedule_filename=str(tmp_path / "schedule"))
        requests = FlushRequests(app)
        redis.lpush(MAINTENANCE_QUEUE, *[b"{}"] * (MAX_TICKS - 3))
        for _ in range(5):
            scheduler.apply_entry(scheduler.schedule["flush"], producer=scheduler.producer)
            requests.send()
        assert redis.llen(MAINTENANCE_QUEUE) == MAX_TICKS
        redis.lpop(MAINTENANCE_QUEUE)  # a worker is back
        scheduler.apply_entry(scheduler.schedule["sweep"], producer=scheduler.producer)
        assert redis.llen(MAINTENANCE_QUEUE) == MAX_TICKS
        scheduler.close()
