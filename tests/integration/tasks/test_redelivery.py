"""The journal and its sweep: what was accepted is applied, however often a message is lost (P1)."""

from datetime import timedelta

import pytest

from config.shards import shard_for
from models.errors import JournalFullError
from models.state.keys import shard_keys
from models.state.queue.journal import Journal, JournalBounds
from tests.support.stack import SHARDS, Stack


def test_a_lost_message_is_published_again_after_its_wait(stack):
    lost = stack.accept(stack.event("login"))
    stack.clock.advance(seconds=9)
    assert stack.sweeper.sweep() == 0
    stack.clock.advance(seconds=2)
    assert stack.sweeper.sweep() == 1
    assert [(batch.batch_id, batch.packed) for batch in stack.published] == [
        (batch.batch_id, batch.packed) for batch in lost
    ]
    stack.apply(*stack.published)
    assert stack.progress()[("logins", "")] == (1, False)


def test_each_attempt_waits_twice_as_long(stack):
    stack.accept(stack.event("login"))
    stack.clock.advance(seconds=11)
    assert stack.sweeper.sweep() == 1
    stack.clock.advance(seconds=19)
    assert stack.sweeper.sweep() == 0
    stack.clock.advance(seconds=2)
    assert stack.sweeper.sweep() == 1


def test_what_falls_due_together_does_not_come_back_together(stack):
    chances = iter([0.1, 0.9, 0.3])
    bounds = JournalBounds(10**6, timedelta(minutes=15), 1000)
    retry_after = timedelta(seconds=10)
    journal = Journal(stack.redis, shards=SHARDS, bounds=bounds, retry_after=retry_after, chance=lambda: next(chances))
    batches = [stack.accept(stack.event("login"))[0] for _ in range(2)]
    shard, now_ms = batches[0].shard, stack.clock() // 1000
    ids = [batch.batch_id for batch in batches]
    due = shard_keys(shard).journal_due
    journal.postpone(shard, ids, now_ms=now_ms)
    assert [stack.redis.zscore(due, batch_id) - now_ms for batch_id in ids] == [10_250, 12_250]
    journal.take(shard, max_batches=9, max_bytes=9999, now_ms=now_ms)
    assert len(journal.claim_waiting(shard, now_ms=now_ms + 20_000, queued=0, limit=9)) == 1  # for both
    waits = [stack.redis.zscore(due, batch_id) - now_ms - 20_000 for batch_id in ids]
    assert all(20_000 <= wait <= 25_000 for wait in waits)
    assert waits[0] != waits[1]


def test_what_no_worker_takes_waits_however_long(stack):
    stack.accept(stack.event("login"))
    for _ in range(30):
        stack.clock.advance(minutes=6)
        assert stack.sweeper.sweep() == 1
    assert stack.count("dead_letters") == 0


def test_a_passing_fault_is_no_attempt(stack):
    batch = stack.accept(stack.event("login"))[0]
    for _ in range(10):
        stack.clock.advance(minutes=6)
        stack.sweeper.sweep()
        stack.tries.begin(batch.shard, batch.batch_id, "a try")
        stack.journal.postpone(batch.shard, [batch.batch_id], now_ms=stack.clock() // 1000)
    assert stack.count("dead_letters") == 0


def test_batches_that_wait_for_a_queued_message_are_not_published_again(stack):
    stack.accept(stack.event("login"))
    stack.clock.advance(minutes=1)
    stack.queued = 1
    assert stack.sweeper.sweep() == 0
    stack.queued = 0
    assert stack.sweeper.sweep() == 1


def test_one_message_is_enough_for_all_batches_whose_message_was_lost(stack):
    for _ in range(5):
        stack.accept(stack.event("login"))
    stack.clock.advance(seconds=11)
    assert stack.sweeper.sweep() == 1
    stack.apply(*stack.published)
    assert stack.progress()[("logins", "")] == (5, True)


def test_what_a_killed_worker_had_taken_comes_back_even_while_messages_are_queued(stack):
    taken_by_the_dead = stack.accept(stack.event("login"))[0]
    stack.clock.advance(minutes=1)  # it waited long for its worker
    now_ms = stack.clock() // 1000
    stack.journal.take(taken_by_the_dead.shard, max_batches=10, max_bytes=10_000, now_ms=now_ms)
    stack.clock.advance(seconds=9)
    stack.queued = 7
    assert stack.sweeper.sweep() == 0  # the worker may still be at it
    stack.clock.advance(seconds=2)
    assert stack.sweeper.sweep() == 0  # the worker that the queued messages bring takes it
    taken = stack.journal.take(taken_by_the_dead.shard, max_batches=10, max_bytes=10_000, now_ms=stack.clock() // 1000)
    assert [batch.batch_id for batch in taken.batches] == [taken_by_the_dead.batch_id]


def test_a_full_journal_refuses_and_takes_again_once_it_is_drained(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 520)
    kept = stack.accept(stack.event("login"), stack.event("login"))
    with pytest.raises(JournalFullError):
        stack.accept(*(stack.event("login") for _ in range(4)))
    stack.apply(*kept)
    assert stack.accept(stack.event("login"))


def test_appending_a_batch_again_changes_nothing(stack):
    batch = stack.accept(stack.event("login"))[0]
    before = stack.journal.states(SHARDS)
    stack.clock.advance(seconds=3)
    stack.journal.append([batch], stack.clock() // 1000)
    assert stack.journal.states(SHARDS) == before


def test_the_oldest_batch_is_told(stack):
    stack.accept(stack.event("login"))
    accepted = stack.clock() // 1000
    stack.clock.advance(minutes=1)
    stack.accept(stack.event("login"))
    assert max(state.oldest_ms for state in stack.journal.states(SHARDS)) == accepted


def test_waiting_is_bounded_however_many_attempts(stack):
    stack.accept(stack.event("login"))
    for attempt in range(1, 4):
        stack.clock.advance(minutes=5, seconds=1)
        assert stack.sweeper.sweep() == 1, attempt


def test_what_postgresql_lacks_is_bounded_too_and_the_bound_lifts_with_the_flush(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 1000)

    def more_and_more():
        for _ in range(20):  # workers keep up, PostgreSQL does not
            stack.post(stack.event("login"))

    with pytest.raises(JournalFullError):
        more_and_more()
    assert all(state.size == 0 for state in stack.journal.states(SHARDS))
    stack.flusher.flush()
    stack.post(stack.event("login"))
    assert redis.get(shard_keys(shard_for("t1", "u1", SHARDS)).log_bytes) is not None
    stack.flusher.flush()
    assert {int(redis.get(shard_keys(shard).log_bytes) or 0) for shard in range(SHARDS)} == {0}


@pytest.mark.parametrize("minutes", [-60, 11, 60])
def test_a_worker_whose_clock_is_wrong_puts_no_batch_off_for_long(stack, minutes):
    batch = stack.accept(stack.event("login"))[0]
    wrong = stack.clock() // 1000 + minutes * 60_000
    stack.journal.take(batch.shard, max_batches=10, max_bytes=10_000, now_ms=wrong)  # and is killed with it
    stack.clock.advance(seconds=11)
    assert stack.sweeper.sweep() == 1
    stack.apply(*stack.published)
    assert stack.progress()[("logins", "")] == (1, False)


def test_what_a_clock_ahead_put_off_waits_for_no_others_that_are_due(stack):
    put_off, due = (stack.accept(stack.event("login"))[0] for _ in range(2))
    now_ms = stack.clock() // 1000
    stack.journal.take(put_off.shard, max_batches=9, max_bytes=9999, now_ms=now_ms)
    stack.journal.postpone(put_off.shard, [put_off.batch_id], now_ms=now_ms + 3_600_000)
    stack.clock.advance(seconds=11)
    stack.journal.claim_waiting(due.shard, now_ms=stack.clock() // 1000, queued=0, limit=9)
    attempts = stack.redis.hgetall(shard_keys(due.shard).journal_attempts)
    assert set(attempts) == {batch.batch_id.encode() for batch in (put_off, due)}


def test_a_clock_a_little_ahead_costs_no_more_than_that(stack):
    batch = stack.accept(stack.event("login"))[0]
    stack.journal.take(batch.shard, max_batches=10, max_bytes=10_000, now_ms=stack.clock() // 1000 + 9 * 60_000)
    stack.clock.advance(seconds=11)
    assert stack.sweeper.sweep() == 0
    stack.clock.advance(minutes=9)
    assert stack.sweeper.sweep() == 1


def _left_behind(stack, count):
    """Batches of one shard that a worker took and did not apply, as when it was killed."""
    shard = {stack.accept(stack.event("login"))[0].shard for _ in range(count)}.pop()
    taken = stack.journal.take(shard, max_batches=count, max_bytes=1_000_000, now_ms=stack.clock() // 1000)
    assert len(taken.batches) == count
    return shard


def test_one_message_is_enough_for_all_batches_that_a_worker_left_behind(stack):
    _left_behind(stack, 5)
    stack.clock.advance(seconds=11)
    assert stack.sweeper.sweep() == 1
    stack.apply(*stack.published)
    assert stack.progress()[("logins", "")] == (5, True)


def test_batches_that_were_put_back_again_and_again_cost_one_message_each_time(stack):
    shard = _left_behind(stack, 5)
    for _ in range(10):
        stack.clock.advance(seconds=11)
        assert stack.sweeper.sweep() == 1
        taken = stack.journal.take(shard, max_batches=10, max_bytes=1_000_000, now_ms=stack.clock() // 1000)
        ids = [batch.batch_id for batch in taken.batches]
        assert len(ids) == 5
        stack.journal.postpone(shard, ids, now_ms=stack.clock() // 1000)


def test_batches_left_behind_twice_have_a_message_each(stack):
    shard = _left_behind(stack, 5)
    stack.clock.advance(seconds=11)
    stack.sweeper.sweep()
    stack.journal.take(shard, max_batches=10, max_bytes=1_000_000, now_ms=stack.clock() // 1000)
    stack.clock.advance(seconds=21)
    assert stack.sweeper.sweep() == 5


def test_no_copies_are_published_while_many_messages_wait(stack):
    shard = _left_behind(stack, 5)
    stack.clock.advance(seconds=11)
    stack.sweeper.sweep()
    stack.journal.take(shard, max_batches=10, max_bytes=1_000_000, now_ms=stack.clock() // 1000)
    stack.queued = 21
    for _ in range(30):
        stack.clock.advance(minutes=6)
        assert stack.sweeper.sweep() == 0
    stack.queued = 20
    assert stack.sweeper.sweep() == 5  # and none of the waiting was an attempt
    assert stack.count("dead_letters") == 0


def test_a_sweep_hands_out_large_batches_some_at_a_time(stack):
    large = b'{"note":"' + b"x" * 60_000 + b'"}'
    stack.accept(*(stack.event("login", "u1", payload=large) for _ in range(1)))
    batches = [stack.accept(stack.event("login", "u1", payload=large))[0] for _ in range(60)]
    shard = batches[0].shard
    taken = stack.journal.take(shard, max_batches=100, max_bytes=1 << 30, now_ms=stack.clock() // 1000)
    assert len(taken.batches) == 61
    for batch in taken.batches:  # left behind once before: each is handed out by itself
        stack.redis.hset(shard_keys(shard).journal_attempts, batch.batch_id, 1)
    stack.clock.advance(hours=1)
    first, rest = (
        stack.journal.claim_waiting(shard, now_ms=stack.clock() // 1000, queued=0, limit=500) for _ in range(2)
    )
    assert 30 < len(first) < 40
    assert len(first) + len(rest) == 61
