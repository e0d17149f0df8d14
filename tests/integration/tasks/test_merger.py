"""One message for many batches of many shards: they are merged to larger calls."""

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from models.errors import DatabaseUnavailableError
from models.events import unpack_batch
from models.state.queue.batches import TakenBatch
from tasks.apply.merger import merge
from tasks.retries import ATTEMPTS
from tests.support.stack import SHARDS


def _journaled(stack):
    return sum(state.batches for state in stack.journal.states(SHARDS))


def test_waiting_batches_are_applied_in_calls_of_a_bounded_size(stack):
    for n in range(80):
        stack.accept(*(stack.event("login", event_id=f"{n}-{m}") for m in range(10)))
    stack.catch_up_work()
    assert stack.progress()[("logins", "")] == (800, True)
    entries = [entry for shard in range(SHARDS) for entry in stack.shard_log.read(shard, 100)]
    assert max(len(entry.events) for entry in entries) <= 250
    assert len(entries) < 10


@pytest.mark.parametrize(
    ("sizes", "merged"), [([1, 2, 3], [6]), ([200, 100, 100], [200, 200]), ([300, 1], [300, 1]), ([], [])]
)
def test_batches_are_merged_in_order_up_to_the_bound(stack, sizes, merged):
    batches = [
        TakenBatch(str(n), stack.batches(*(stack.event("login") for _ in range(size)))[0].packed)
        for n, size in enumerate(sizes)
    ]
    parts = list(merge([(batch, unpack_batch(batch.packed)) for batch in batches], max_events=250))
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
    for n in range(400):
        stack.accept(stack.event("login", event_id=f"e{n}", user=f"u{n % 50}"))
    stack.work(stack.take())
    assert len(asked) == ATTEMPTS  # of one call
    assert _journaled(stack) == 400


def test_a_worker_told_to_end_a_task_that_takes_too_long_does_not_try_batch_by_batch(stack, monkeypatch):
    tries = []

    def too_long(*_call, **_options):
        tries.append(1)
        raise SoftTimeLimitExceeded

    for _ in range(2):
        stack.accept(stack.event("login"))
    monkeypatch.setattr(type(stack.records), "apply", too_long)
    with pytest.raises(SoftTimeLimitExceeded):
        stack.work(stack.take())
    assert tries == [1]
    assert _journaled(stack) == 2
