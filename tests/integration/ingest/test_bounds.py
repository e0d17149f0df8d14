"""What may wait between accepting an event and having it in PostgreSQL is bounded, shard by shard, and recovers."""

import re
from collections import deque
from datetime import timedelta
from threading import Thread

import pytest

from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE, queue_for, shard_for
from models.errors import Bound, JournalFullError
from models.state.keys import bell_key, shard_keys
from models.state.queue.batches import Batch
from tasks.apply.applier import ROUNDS, TAKEN_BATCHES
from tasks.broker.publisher import MAX_TICKS, BatchPublisher, QueuePeek
from tests.support.servers import wait_until
from tests.support.stack import SHARDS, Stack
from worker.celery_app import make_app
from worker.scheduler import BoundedScheduler
from worker.wiring import make_journal

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
    stack.journal.take(HERE, max_batches=1, max_bytes=1, now_ms=stack.clock() // 1000)
    stack.clock.advance(minutes=5)
    assert sum(state.batches for state in stack.journal.states(SHARDS)) == 1
    assert refused(stack) == {}


def test_a_ready_name_without_a_batch_closes_nothing(redis, engine):
    stack = Stack(redis, engine, max_age=timedelta(minutes=1))
    redis.zadd(shard_keys(HERE).ready, {"gone": 1, "gone too": 2})
    assert refused(stack) == {}
    assert redis.zcard(shard_keys(HERE).ready) == 1


def test_the_sweep_brings_a_worker_to_a_closed_shard_whose_message_was_lost(redis, engine):
    stack = Stack(redis, engine, max_age=timedelta(seconds=30))
    stack.accept(stack.event("login"))
    stack.clock.advance(minutes=1)
    assert refused(stack) == {HERE: Bound.AGE}
    assert stack.sweeper.sweep() == 1
    stack.apply(*stack.published)
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
            stack.apply(*stack.rung)
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


def test_a_hot_user_does_not_stall_the_other_shards(stack):
    queue = deque(stack.accept(stack.event("login")))
    for number in range(2 * ROUNDS * TAKEN_BATCHES):
        stack.accept(stack.event("login", event_id=f"hot-{number}"))
    queue.extend(stack.accept(stack.event("login", user=ELSEWHERE)))
    hot_before_the_others = None
    while queue:  # one worker on all shards, which takes messages in their order
        stack.apply(queue.popleft())
        queue.extend(stack.published)
        stack.published.clear()
        if hot_before_the_others is None and stack.progress(ELSEWHERE):
            hot_before_the_others = stack.progress()[("logins", "")][0]
    assert hot_before_the_others is not None
    assert hot_before_the_others <= ROUNDS * TAKEN_BATCHES + 1
    assert stack.progress()[("logins", "")][0] == 2 * ROUNDS * TAKEN_BATCHES + 1


@pytest.fixture
def publisher(redis_url):
    with make_app(Settings(broker_url=redis_url, state_url=redis_url, shards=SHARDS)) as app:
        yield BatchPublisher(app)


def test_a_queue_without_a_worker_holds_one_message_however_often_its_bell_expires(redis, stack, publisher):
    for _ in range(5):
        stack.accept(stack.event("login"))
        assert len(stack.rung) == 1
        publisher.ring(stack.rung)
        redis.delete(bell_key(HERE))
    assert redis.llen(queue_for(HERE)) == 1


def test_only_the_shards_whose_queue_holds_a_message_get_none(redis, publisher):
    publisher.ring([Batch(0, "a", b"\x90")])
    publisher.ring([Batch(0, "b", b"\x90"), Batch(1, "c", b"\x90"), Batch(2, "d", b"\x90")])
    assert [redis.llen(queue_for(shard)) for shard in range(SHARDS)] == [1, 1, 1, 0]


def test_a_long_rest_comes_behind_other_messages_and_one_of_four_does_not(redis, redis_url, publisher):
    def next_message():
        return publisher._app.connection_for_read().default_channel.basic_get(queue_for(HERE), no_ack=True)

    peek = QueuePeek(redis_url)
    publisher.hand_on([Batch(HERE, "rest", b"\x90")])
    publisher.hand_on([Batch(HERE, "again", b"\x90")])  # one is enough
    assert (peek.lengths(SHARDS)[HERE], redis.llen(queue_for(HERE))) == (1, 0)
    publisher.ring([Batch(HERE, "now", b"\x90")])
    assert peek.lengths(SHARDS)[HERE] == 2
    assert [next_message().properties["correlation_id"] for _ in range(2)] == ["now", "rest"]
    for index in (3, 4):
        publisher.hand_on([Batch(HERE, f"rest {index}", b"\x90")])
        assert redis.llen(queue_for(HERE)) == (index == 4)
        next_message()
    assert peek.lengths(SHARDS)[HERE] == 0


def test_what_is_handed_on_stays_ready_for_whoever_comes_first(stack):
    first = stack.accept(stack.event("login"))
    for number in range(ROUNDS * TAKEN_BATCHES + 5):
        stack.accept(stack.event("login", event_id=f"e{number}"))
    stack.apply(*first)
    [handed_on] = stack.published
    assert stack.journal.next_ready(HERE).batch_id == handed_on.batch_id
    later = stack.accept(stack.event("login"))
    stack.apply(*later)  # another message came first
    assert stack.journal.next_ready(HERE) is None
    assert sum(state.batches for state in stack.journal.states(SHARDS)) == 0


def test_ticks_that_nobody_takes_do_not_pile_up(redis, redis_url, tmp_path):
    with make_app(Settings(broker_url=redis_url, state_url=redis_url, shards=SHARDS)) as app:
        scheduler = BoundedScheduler(app, schedule_filename=str(tmp_path / "schedule"))
        publisher = BatchPublisher(app)
        redis.lpush(MAINTENANCE_QUEUE, *[b"{}"] * (MAX_TICKS - 3))
        for _ in range(5):
            scheduler.apply_entry(scheduler.schedule["flush"], producer=scheduler.producer)
            publisher.request_flush()
        assert redis.llen(MAINTENANCE_QUEUE) == MAX_TICKS
        redis.lpop(MAINTENANCE_QUEUE)  # a worker is back
        scheduler.apply_entry(scheduler.schedule["sweep"], producer=scheduler.producer)
        assert redis.llen(MAINTENANCE_QUEUE) == MAX_TICKS
        scheduler.close()
