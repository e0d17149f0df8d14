"""What a worker was given and did not apply is given again, ever later, and what was accepted is applied (P1)."""

from datetime import timedelta

import pytest

from config.shards import shard_for
from models.errors import DatabaseUnavailableError, JournalFullError, StateUnavailableError
from models.state.keys import shard_keys, stream_keys
from models.state.queue.journal import GROUP, make_groups
from tasks.broker.streams import StreamReader
from tests.support.stack import SHARDS, Stack

HERE = shard_for("t1", "u1", SHARDS)


def taken_by_the_dead(stack, count=1):
    """Batches that a worker was given, and that it did not apply for it was killed."""
    for _ in range(count):
        stack.accept(stack.event("login"))
    [batches] = stack.take().values()
    assert len(batches) == count
    return [batch.batch_id for batch in batches]


def due(stack):
    """How many batches workers are given again now."""
    return sum(len(batches) for work in stack.returned(overdue=False) for batches in work.values())


def deliveries(stack):
    return [batch.deliveries for work in stack.returned() for batches in work.values() for batch in batches]


def test_what_no_worker_was_given_waits_however_long(stack):
    stack.accept(stack.event("login"))
    assert stack.returned() == []
    stack.catch_up_work()
    assert stack.progress()[("logins", "")] == (1, False)


def test_what_a_killed_worker_had_in_hand_comes_again_after_its_wait_and_in_one_message(stack):
    names = taken_by_the_dead(stack, 5)
    stack.wait(HERE, timedelta(seconds=9))
    assert due(stack) == 0
    stack.wait(HERE, timedelta(seconds=11))
    [work] = stack.returned(overdue=False)
    assert [batch.batch_id for batch in work[HERE]] == names
    stack.work(work)
    assert stack.progress()[("logins", "")] == (5, True)
    assert due(stack) == 0


def test_each_delivery_waits_twice_as_long_and_never_above_five_minutes(stack):
    taken_by_the_dead(stack)
    for seconds in (10, 20, 40, 80, 160, 300, 300):
        stack.wait(HERE, timedelta(seconds=seconds - 1))
        assert due(stack) == 0, seconds
        stack.wait(HERE, timedelta(seconds=seconds + 1))
        assert due(stack) == 1, seconds


def test_from_the_third_time_on_each_batch_comes_alone(stack):
    taken_by_the_dead(stack, 3)
    assert [len(work[HERE]) for work in stack.returned()] == [3]
    assert [len(work[HERE]) for work in stack.returned()] == [1, 1, 1]
    assert deliveries(stack) == [4, 4, 4]


def test_two_workers_are_not_given_the_same(stack):
    taken_by_the_dead(stack, 3)
    stack.wait(HERE, timedelta(hours=1))
    assert [due(stack), due(stack)] == [3, 0]


def test_what_a_worker_has_in_hand_is_given_to_nobody_else(stack):
    names = taken_by_the_dead(stack, 2)
    stack.wait(HERE, timedelta(hours=1))
    stack.journal.hold({HERE: names})
    assert due(stack) == 0


def test_what_a_worker_gives_back_comes_at_once_and_this_was_no_attempt(stack):
    names = taken_by_the_dead(stack, 2)
    stack.journal.give_back({HERE: names})
    [work] = stack.returned(overdue=False)
    assert [batch.deliveries for batch in work[HERE]] == [2, 2]


def test_a_passing_fault_is_no_attempt(stack):
    names = taken_by_the_dead(stack)
    for _ in range(10):
        stack.returned()
        stack.journal.postpone(HERE, names)
    assert deliveries(stack) == [2]
    stack.work({HERE: stack.returned()[0][HERE]})
    assert stack.count("dead_letters") == 0


def test_after_postgresql_was_away_all_comes_together(stack, monkeypatch):
    def away(*_call, **_options):
        raise DatabaseUnavailableError("away")

    for _ in range(5):
        stack.accept(stack.event("login"))
    with monkeypatch.context() as patch:
        patch.setattr(type(stack.reader), "snapshots", away)
        stack.catch_up_work()
        for _ in range(4):
            assert [len(work[HERE]) for work in stack.returned()] == [5]
            stack.try_again()
    [work] = stack.returned()
    assert [batch.deliveries for batch in work[HERE]] == [2] * 5
    stack.work(work)
    assert stack.progress()[("logins", "")] == (5, True)


def test_a_shard_that_fails_does_not_take_its_neighbours_turn(stack, monkeypatch):
    whole = type(stack.records).apply
    elsewhere = next(user for user in map(str, range(60)) if shard_for("t1", user, SHARDS) != HERE)

    def closed(self, shard, *rest, **options):
        if shard == HERE:
            raise StateUnavailableError("the shard is being reset")
        return whole(self, shard, *rest, **options)

    monkeypatch.setattr(type(stack.records), "apply", closed)
    stack.accept(stack.event("login"), stack.event("login", elsewhere))
    taken = stack.take()
    stack.work({shard: taken[shard] for shard in sorted(taken, key=lambda shard: shard != HERE)})
    assert stack.progress(elsewhere)[("logins", "")] == (1, False)
    assert deliveries(stack) == [2]
    monkeypatch.setattr(type(stack.records), "apply", whole)
    stack.try_again()
    assert stack.progress()[("logins", "")] == (1, False)


def test_what_comes_again_is_bounded_by_bytes(stack):
    large = b'{"note":"' + b"x" * 60_000 + b'"}'
    for _ in range(30):
        stack.accept(stack.event("login", payload=large))
    stack.take()
    stack.wait(HERE, timedelta(hours=1))
    first, rest = due(stack), due(stack)
    assert 5 < first < 15
    assert 5 < rest < 15


def test_groups_that_a_wiped_redis_lacks_are_made_again_and_nothing_added_meanwhile_is_missed(stack, redis):
    stack.take()
    redis.flushall()
    stack.catch_up(None)
    stack.accept(stack.event("login"))
    stack.catch_up_work()
    assert stack.progress()[("logins", "")] == (1, False)
    make_groups(redis, stream_keys(HERE))  # again, for another worker
    assert len(redis.xinfo_groups(stream_keys(HERE)[0])) == 1
    assert redis.xinfo_groups(stream_keys(HERE)[0])[0]["name"] == GROUP.encode()


def test_a_full_journal_refuses_and_takes_again_once_it_is_drained(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 520)
    kept = stack.accept(stack.event("login"), stack.event("login"))
    with pytest.raises(JournalFullError):
        stack.accept(*(stack.event("login") for _ in range(4)))
    stack.apply(*kept)
    assert stack.accept(stack.event("login"))


def test_the_oldest_batch_is_told_and_a_receiver_whose_clock_is_behind_makes_it_no_older(stack):
    stack.accept(stack.event("login"))
    accepted = stack.clock() // 1000
    stack.clock.advance(minutes=1)
    stack.accept(stack.event("login"))
    stack.clock.advance(minutes=-5)
    stack.accept(stack.event("login"))
    state = stack.journal.states(SHARDS)[HERE]
    assert (state.batches, state.oldest_ms) == (3, accepted)


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
    assert redis.get(shard_keys(HERE).log_bytes) is not None
    stack.flusher.flush()
    assert {int(redis.get(shard_keys(shard).log_bytes) or 0) for shard in range(SHARDS)} == {0}


def test_what_a_worker_claimed_and_never_began_when_it_ends_was_no_delivery(stack):
    taken_by_the_dead(stack)
    for _ in range(8):
        stack.wait(HERE, timedelta(hours=1))
        reader = StreamReader(stack.journal, stack.redis)
        reader.claim([HERE])
        assert [batch.deliveries for work in reader.claims for batch in work.shards[HERE]] == [2]
        reader.close()
        assert due(stack) == 1  # at once
        [entry_id] = [row["message_id"] for row in stack.redis.xpending_range(stream_keys(HERE)[0], GROUP, "-", "+", 9)]
        stack.redis.xclaim(stream_keys(HERE)[0], GROUP, GROUP, 0, [entry_id], idle=0, retrycount=1, justid=True)


def test_what_fails_for_long_in_one_stream_does_not_keep_another_from_coming_again(stack):
    light, heavier = stream_keys(HERE)[:2]
    make_groups(stack.redis, [light, heavier])
    for stream, number in ((light, 300), (heavier, 1)):
        for _ in range(number):
            stack.redis.xadd(stream, {"b": b"x"})
        stack.redis.xreadgroup(GROUP, GROUP, {stream: ">"}, count=number)

    def came():
        stack.wait(HERE, timedelta(seconds=11))
        found = stack.journal.returned([HERE])[HERE]
        for one in found:  # a passing fault, so that all is due at the next look again
            stack.journal.postpone(HERE, [one.batch.batch_id])
        return {one.batch.batch_id.partition(":")[0] for one in found}

    assert any("1" in came() for _ in range(40))
