"""One message for many batches: who is woken takes all that is ready."""

from itertools import count

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from models.errors import DatabaseUnavailableError
from models.state.keys import bell_key
from models.state.queue.batches import TakenBatch
from tasks.apply.applier import ROUNDS, TAKEN_BATCHES
from tasks.apply.merger import merge
from tasks.apply.pace import LEAST, TURN_S, Pace
from tasks.retries import ATTEMPTS
from tests.support.stack import SHARDS


def _journaled(stack):
    return sum(state.batches for state in stack.journal.states(SHARDS))


def test_only_the_first_batch_needs_a_message_and_its_worker_applies_all(stack):
    first = stack.accept(stack.event("login"))
    assert stack.rung == first
    for _ in range(9):
        stack.accept(stack.event("login"))
        assert stack.rung == []
    stack.apply(*first)
    assert stack.progress()[("logins", "")] == (10, True)
    assert _journaled(stack) == 0


def test_the_next_batch_rings_again_once_all_is_taken(stack):
    stack.apply(*stack.accept(stack.event("login")))
    again = stack.accept(stack.event("login"))
    assert stack.rung == again


def test_a_lost_message_silences_the_bell_for_a_bounded_time_only(stack, redis):
    batch = stack.accept(stack.event("login"))[0]
    assert 0 < redis.pttl(bell_key(batch.shard)) <= 10_000


def test_waiting_batches_are_applied_in_calls_of_a_bounded_size(stack):
    first = stack.accept(stack.event("login"))
    for n in range(80):
        stack.accept(*(stack.event("login", event_id=f"{n}-{m}") for m in range(10)))
    stack.apply(*first)
    assert stack.progress()[("logins", "")] == (801, True)
    entries = [entry for shard in range(SHARDS) for entry in stack.shard_log.read(shard, 100)]
    assert max(len(entry.events) for entry in entries) <= 250
    assert len(entries) < 10


def test_a_long_rest_goes_to_a_new_message_so_that_other_shards_get_their_turn(stack):
    first = stack.accept(stack.event("login"))
    for n in range(ROUNDS * TAKEN_BATCHES + 50):
        stack.accept(stack.event("login", event_id=f"e{n}"))
    stack.apply(*first)
    assert len(stack.published) == 1
    assert 0 < _journaled(stack) <= 51  # the one handed on among them
    stack.apply(*stack.published)
    assert _journaled(stack) == 0
    assert stack.progress()[("logins", "")] == (ROUNDS * TAKEN_BATCHES + 51, True)


def test_a_turn_ends_by_its_time_where_events_are_slow(stack):
    heartbeats = count()
    object.__setattr__(stack.applier, "clock", lambda: next(heartbeats) * TURN_S)
    object.__setattr__(stack.applier, "pace", Pace(LEAST))
    first = stack.accept(stack.event("login"))
    for n in range(100):
        stack.accept(stack.event("login", event_id=f"e{n}"))
    stack.apply(*first)
    assert len(stack.published) == 1
    assert 60 < _journaled(stack) < 80  # one take of the least size


def test_a_message_whose_batch_the_journal_has_lost_still_counts(stack, redis):
    batch = stack.accept(stack.event("login"))[0]
    redis.flushall()
    stack.apply(batch)
    assert stack.progress()[("logins", "")] == (1, False)


@pytest.mark.parametrize(
    ("sizes", "merged"), [([1, 2, 3], [6]), ([200, 100, 100], [200, 200]), ([300, 1], [300, 1]), ([], [])]
)
def test_batches_are_merged_in_order_up_to_the_bound(stack, sizes, merged):
    batches = [
        TakenBatch(str(n), stack.batches(*(stack.event("login") for _ in range(size)))[0].packed)
        for n, size in enumerate(sizes)
    ]
    parts = list(
        merge(batches, lambda _batch, error: pytest.fail(str(error)), lambda _batch, _events: False, max_events=250)
    )
    assert [len(part.events) for part in parts] == merged
    assert [batch_id for part in parts for batch_id in part.batch_ids] == [str(n) for n in range(len(sizes))]


def test_postgresql_away_is_asked_once_a_message_however_many_batches_wait(stack):
    asked = []

    def away(_users, **_clock):
        asked.append(1)
        raise DatabaseUnavailableError("away")

    object.__setattr__(
        stack.evaluator, "reader", stack.retries.wrap(type("Away", (), {"snapshots": staticmethod(away)}))
    )
    first = stack.accept(stack.event("login"))
    for n in range(2 * TAKEN_BATCHES):
        stack.accept(stack.event("login", event_id=f"e{n}"))
    stack.apply(*first)
    assert len(asked) == ATTEMPTS  # of one call
    assert _journaled(stack) == 2 * TAKEN_BATCHES + 1


def test_a_worker_told_to_end_a_task_that_takes_too_long_does_not_try_batch_by_batch(stack, monkeypatch):
    tries = []

    def too_long(*_call, **_options):
        tries.append(1)
        raise SoftTimeLimitExceeded

    first = stack.accept(stack.event("login"))
    stack.accept(stack.event("login"))
    monkeypatch.setattr(type(stack.records), "apply", too_long)
    with pytest.raises(SoftTimeLimitExceeded):
        stack.apply(*first)
    assert tries == [1]
    assert _journaled(stack) == 2
