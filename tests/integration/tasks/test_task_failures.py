"""Tasks that fail, and those that take their process with them, leave what an operator needs to find the cause."""

from types import SimpleNamespace

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError

from models.errors import StateUnavailableError
from models.state.queue.undeliverable import PoisonList, unpack_poison
from tasks.definitions import APPLY_EVENTS, FLUSH
from worker.task_failures import TAKEN_BACK, TaskFailureHandlers


@pytest.fixture
def task_failures(stack):
    return TaskFailureHandlers(stack.journal, stack.tries, PoisonList(stack.redis), stack.clock)


def task(name):
    return SimpleNamespace(name=name)


def kept(stack):
    return [unpack_poison(packed) for packed in PoisonList(stack.redis).oldest(10)]


def failed(task_failures, name, error, *args):
    task_failures._failed(task(name), error, args, {}, SimpleNamespace(traceback="Traceback ..."))


def test_a_batch_that_took_its_process_with_it_is_known_by_that(stack, task_failures):
    [batch] = stack.accept(stack.event("login"))
    request = SimpleNamespace(args=[*batch], kwargs={})
    task_failures._tried_again(task(APPLY_EVENTS), request, SimpleNamespace(exc=WorkerLostError("signal 11")))
    failed(task_failures, APPLY_EVENTS, TimeLimitExceeded(60), *batch)
    [known] = stack.tries.of(batch.shard, [batch.batch_id])
    assert (known.killed, known.exception) == (2, "TimeLimitExceeded")
    assert kept(stack) == []


def test_a_batch_applied_before_its_process_was_killed_counts_once_and_makes_no_dead_letter(stack, task_failures):
    [batch] = stack.accept(stack.event("login"))
    stack.apply(batch)
    failed(task_failures, APPLY_EVENTS, WorkerLostError("signal 9"), *batch)
    assert kept(stack) == []
    stack.apply(batch)
    assert stack.progress()["logins", ""] == (1, False)
    assert not stack.journal.has(batch.shard, batch.batch_id)


def test_a_batch_that_the_journal_has_lost_goes_back_there_from_its_message(stack, task_failures):
    [batch] = stack.batches(stack.event("login"))
    failed(task_failures, APPLY_EVENTS, WorkerLostError("signal 9"), *batch)
    assert stack.journal.has(batch.shard, batch.batch_id)


def test_a_batch_that_is_lost_again_and_again_is_kept_by_its_message(stack, task_failures):
    [batch] = stack.batches(stack.event("killer"))
    for _ in range(TAKEN_BACK + 1):
        assert kept(stack) == []
        failed(task_failures, APPLY_EVENTS, WorkerLostError("signal 9"), *batch)
        stack.journal.drop(batch.shard, batch.batch_id)
    [poison] = kept(stack)
    assert (poison.reason, poison.task) == ("worker_killed", APPLY_EVENTS)
    assert batch.batch_id.encode() in poison.raw


@pytest.mark.parametrize(
    ("error", "reason"), [(ValueError("boom"), "task_failed"), (WorkerLostError("x"), "worker_killed")]
)
def test_another_task_that_fails_is_kept_with_its_cause(stack, task_failures, error, reason):
    failed(task_failures, FLUSH, error)
    [poison] = kept(stack)
    assert (poison.reason, poison.task, poison.exception) == (reason, FLUSH, type(error).__name__)
    assert (poison.error, poison.traceback, poison.raw) == (str(error), "Traceback ...", b"questline.flush() {}")


def test_a_failure_that_cannot_be_noted_ends_nothing(stack, task_failures, monkeypatch):
    def away(*_call):
        raise StateUnavailableError("away")

    monkeypatch.setattr(PoisonList, "add", away)
    failed(task_failures, FLUSH, ValueError("boom"))


def test_a_process_that_ends_after_its_batch_was_applied_leaves_no_dead_letter(stack, task_failures):
    [batch] = stack.accept(stack.event("login"))
    stack.apply(batch)
    request = SimpleNamespace(args=[*batch], kwargs={})
    task_failures._tried_again(task(APPLY_EVENTS), request, SimpleNamespace(exc=WorkerLostError("signal 9")))
    stack.apply(batch)  # the message comes back
    assert kept(stack) == []


@pytest.mark.parametrize("args", [(), ("x", "y"), (1,), (1, ["b"]), (1.5, "b", b"")])
def test_a_message_with_wrong_arguments_is_kept(stack, task_failures, args):
    failed(task_failures, APPLY_EVENTS, TypeError("missing arguments"), *args)
    [poison] = kept(stack)
    assert (poison.reason, poison.exception) == ("task_failed", "TypeError")
