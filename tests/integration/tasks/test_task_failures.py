"""Tasks that fail, and those that take their process with them, leave what an operator needs to find the cause."""

from types import SimpleNamespace

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError

from models.errors import StateUnavailableError
from models.state.queue.undeliverable import UndeliverableMessages, unpack_undeliverable
from tasks.definitions import APPLY_EVENTS, FLUSH
from worker.task_failures import TaskFailureHandlers


@pytest.fixture
def task_failures(stack):
    return TaskFailureHandlers(stack.journal, stack.attempts, UndeliverableMessages(stack.redis))


def task(name):
    return SimpleNamespace(name=name)


def kept(stack):
    return [unpack_undeliverable(packed) for packed in UndeliverableMessages(stack.redis).oldest(10)]


def failed(task_failures, name, error, *args):
    task_failures._failed(task(name), error, args, {}, SimpleNamespace(traceback="Traceback ..."))


def shards_of(stack):
    """What a message brings, as Celery tells of it."""
    return [[shard, [list(batch) for batch in batches]] for shard, batches in stack.take().items()]


def test_a_batch_that_took_its_process_with_it_is_known_by_that(stack, task_failures):
    [batch] = stack.accept(stack.event("login"))
    shards = shards_of(stack)
    for error in (WorkerLostError("signal 11"), TimeLimitExceeded(60)):
        failed(task_failures, APPLY_EVENTS, error, shards)
    known = stack.attempts.of(batch.shard, batch.batch_id)
    assert (known.killed, known.exception) == (2, "TimeLimitExceeded")
    assert kept(stack) == []


def test_of_several_batches_nobody_knows_which_one_it_was_and_all_come_again_at_once(stack, task_failures):
    batches = [stack.accept(stack.event("login"))[0] for _ in range(2)]
    failed(task_failures, APPLY_EVENTS, WorkerLostError("signal 9"), shards_of(stack))
    assert [stack.attempts.of(batch.shard, batch.batch_id).killed for batch in batches] == [0, 0]
    [work] = stack.returned(overdue=False)
    assert [batch.batch_id for batch in work[batches[0].shard]] == [batch.batch_id for batch in batches]
    stack.work(work)
    assert stack.progress()["logins", ""] == (2, False)


def test_a_process_that_ends_after_its_batch_was_applied_leaves_no_dead_letter(stack, task_failures):
    [batch] = stack.accept(stack.event("login"))
    shards = shards_of(stack)
    stack.apply(batch)
    failed(task_failures, APPLY_EVENTS, WorkerLostError("signal 9"), shards)
    assert (kept(stack), stack.returned()) == ([], [])
    assert stack.progress()["logins", ""] == (1, False)


@pytest.mark.parametrize(
    ("error", "reason"), [(ValueError("boom"), "task_failed"), (WorkerLostError("x"), "worker_killed")]
)
def test_another_task_that_fails_is_kept_with_its_cause(stack, task_failures, error, reason):
    failed(task_failures, FLUSH, error)
    [message] = kept(stack)
    assert (message.reason, message.task, message.exception) == (reason, FLUSH, type(error).__name__)
    assert (message.error, message.traceback, message.raw) == (
        str(error),
        "Traceback ...",
        b"questline.flush() {}",
    )


def test_a_failure_that_cannot_be_noted_ends_nothing(stack, task_failures, monkeypatch):
    def away(*_call):
        raise StateUnavailableError("away")

    monkeypatch.setattr(UndeliverableMessages, "add", away)
    failed(task_failures, FLUSH, ValueError("boom"))


@pytest.mark.parametrize("args", [(), ("x", "y"), (1,), ([1],), ([[1, [["b"]]]],), ([[1.5, [["b", b""]]]],)])
def test_a_message_with_wrong_arguments_is_kept(stack, task_failures, args):
    failed(task_failures, APPLY_EVENTS, TypeError("missing arguments"), *args)
    [message] = kept(stack)
    assert (message.reason, message.exception) == ("task_failed", "TypeError")
