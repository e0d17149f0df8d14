"""Events that break their evaluation, or the process that evaluates them: they end alone, with a reason (P10)."""

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from models.errors import DatabaseUnavailableError, StateUnavailableError
from models.events import pack_batch, unpack_batch
from models.rules.goals import Rulebook
from models.state.keys import METRICS
from models.state.queue.batches import Batch
from tasks.apply.applier import EVENT_ATTEMPTS
from tasks.retries import ATTEMPTS
from tests.support.stack import GOALS, SHARDS, Stack, goal


@pytest.fixture
def stack(redis, engine):
    cities = goal("cities", "distinct", "visit", field="payload.city")
    return Stack(redis, engine, Rulebook((*GOALS.goals, cities)))


def journaled(stack):
    return sum(state.batches for state in stack.journal.states(SHARDS))


def dead_letters(stack):
    with stack.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT * FROM dead_letters ORDER BY id").all()


def counted(stack, name):
    stack.metrics.push()
    return float(stack.redis.hget(METRICS, name) or 0)


def come_back(stack):
    """What is pending is given to a worker again."""
    stack.try_again()


def bad(stack, event_id="bad"):
    """No receiver of ours takes such a payload; only a rule that asks for it finds out."""
    return stack.event("visit", event_id=event_id, payload=b"{nothing")


def test_good_events_of_a_bad_batch_count_at_once(stack):
    stack.post(stack.event("login"), bad(stack), *(stack.event("login") for _ in range(6)))
    assert stack.progress()[("logins", "")] == (7, True)
    assert journaled(stack) == 1
    assert dead_letters(stack) == []


def test_only_the_bad_events_become_dead_letters_at_the_last_attempt(stack):
    good = [stack.event("login") for _ in range(5)]
    first, second = bad(stack, "bad-1"), bad(stack, "bad-2")
    [batch] = stack.accept(*good[:2], first, *good[2:], second)
    stack.apply(batch)
    for _ in range(EVENT_ATTEMPTS - 2):
        come_back(stack)
        assert dead_letters(stack) == []
    come_back(stack)
    found = dead_letters(stack)
    assert [dead_letter.event_ids for dead_letter in found] == [["bad-1"], ["bad-2"]]
    assert [unpack_batch(dead_letter.raw) for dead_letter in found] == [[first], [second]]
    [known] = {
        (one.kind, one.reason, one.task, one.tenant_id, one.user_id, one.shard, one.batch_id, one.attempts)
        for one in found
    }
    reason = ("batch", "evaluation_failed", "questline.apply_events")
    assert known == (*reason, "t1", "u1", batch.shard, batch.batch_id, EVENT_ATTEMPTS)
    assert all(dead_letter.exception and dead_letter.exception in dead_letter.traceback for dead_letter in found)
    assert journaled(stack) == 0
    assert stack.progress()[("logins", "")] == (5, True)
    assert counted(stack, "questline_dead_letters_total{evaluation_failed}") == 2
    assert counted(stack, "challenge_event_handler_events_failed_total") == 2


def test_a_bad_batch_harms_no_other_batch_of_its_call(stack):
    for event in (stack.event("login"), bad(stack), stack.event("login")):
        stack.accept(event)
    stack.catch_up_work()
    assert stack.progress()[("logins", "")] == (2, False)
    assert journaled(stack) == 1


def test_a_batch_that_fails_only_as_a_whole_is_applied_in_parts_and_leaves(stack, monkeypatch):
    whole = type(stack.records).apply

    def not_more_than_two(self, shard, batch_ids, plan, **options):
        if sum(len(user.events) for user in plan.users) > 2:
            raise ValueError("too much")
        return whole(self, shard, batch_ids, plan, **options)

    monkeypatch.setattr(type(stack.records), "apply", not_more_than_two)
    stack.post(*(stack.event("login") for _ in range(5)))
    assert stack.progress()[("logins", "")] == (5, True)
    assert (journaled(stack), dead_letters(stack)) == (0, [])


def test_bytes_that_are_no_batch_become_a_dead_letter_at_once_and_harm_nobody(stack):
    [first] = stack.accept(stack.event("login"))
    stack.journal.append([Batch(first.shard, "junk", b"\xc1junk")], stack.clock() // 1000)
    stack.accept(stack.event("login"))
    stack.catch_up_work()
    assert stack.progress()[("logins", "")] == (2, False)
    assert journaled(stack) == 0
    [dead_letter] = dead_letters(stack)
    assert (dead_letter.kind, dead_letter.reason, bytes(dead_letter.raw)) == ("batch", "malformed_batch", b"\xc1junk")


@pytest.mark.parametrize("garbage", [[None] * 6, [1] * 12, ["\0"] * 6, [b"\xff", "login", {}, [], 1, 2]])
def test_a_batch_of_garbage_ends_as_dead_letters_whatever_is_in_it(stack, garbage):
    stack.journal.append([Batch(0, "junk", pack_batch([garbage, stack.event("login")]))], stack.clock() // 1000)
    stack.catch_up_work()
    for _ in range(EVENT_ATTEMPTS):
        come_back(stack)
    assert journaled(stack) == 0
    assert [dead_letter.reason for dead_letter in dead_letters(stack)] == ["malformed_batch"]


def test_while_dead_letters_cannot_be_written_the_batch_stays_in_the_journal(stack, monkeypatch):
    def away(_dead_letters):
        raise DatabaseUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(stack.writer, "store_dead_letters", away)
        stack.post(bad(stack))
        for _ in range(EVENT_ATTEMPTS):
            come_back(stack)
    assert journaled(stack) == 1
    assert counted(stack, "questline_dead_letters_total{evaluation_failed}") == 0
    come_back(stack)
    assert journaled(stack) == 0
    assert [dead_letter.event_ids for dead_letter in dead_letters(stack)] == [["bad"]]


def test_a_crash_between_dead_letter_and_journal_leaves_one_dead_letter(redis, engine, monkeypatch):
    stack = Stack(redis, engine, Rulebook((goal("cities", "distinct", "visit", field="payload.city"),)), max_attempts=6)
    stack.post(bad(stack))
    for _ in range(EVENT_ATTEMPTS - 2):
        come_back(stack)
    with monkeypatch.context() as patch:
        patch.setattr(type(stack.journal), "drop", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            come_back(stack)
    assert journaled(stack) == 1
    come_back(stack)
    assert journaled(stack) == 0
    assert len(dead_letters(stack)) == 1


class Died(BaseException):
    """The process ends here: nothing after it runs."""


@pytest.fixture
def deadly(monkeypatch):
    """Evaluating an event of this type ends the process."""

    def end_at(stack: Stack, event_type="killer"):
        whole = type(stack.evaluator).evaluate

        def evaluate(self, shard, events, *rest, **options):
            if any(event.event_type == event_type for event in events):
                raise Died
            return whole(self, shard, events, *rest, **options)

        monkeypatch.setattr(type(stack.evaluator), "evaluate", evaluate)

    return end_at


def workers_take(stack, messages):
    """Workers take these messages one after another, and one that dies is replaced; tells how many died."""
    died = 0
    for shards in messages:
        try:
            stack.work(shards)
        except Died as error:
            died += 1
            work = [(shard, batch) for shard, batches in shards.items() for batch in batches]
            if len(work) == 1:
                [(shard, batch)] = work
                stack.attempts.note(shard, batch.batch_id, error, killed=True)
    return died


def test_an_event_that_kills_its_worker_ends_alone_and_its_neighbours_count(stack, deadly):
    deadly(stack)
    stack.accept(stack.event("login"))
    stack.accept(*(stack.event("login") for _ in range(3)), stack.event("killer", event_id="killer"))
    stack.accept(stack.event("login"))
    died = workers_take(stack, [stack.take()])
    rounds = 0
    while journaled(stack):
        died += workers_take(stack, stack.returned())
        rounds += 1
        assert rounds < 20
    assert stack.progress()[("logins", "")] == (5, True)
    [dead_letter] = dead_letters(stack)
    assert (dead_letter.reason, dead_letter.event_ids, dead_letter.exception) == ("worker_killed", ["killer"], "Died")
    assert len(unpack_batch(dead_letter.raw)) == 1
    assert died <= 2 + 1 + stack.max_attempts  # with its neighbours, as a batch, alone


def test_a_split_keeps_the_size_and_the_age_of_the_journal(stack):
    [batch] = stack.accept(*(stack.event("login", event_id=f"e{n}") for n in range(3)))
    before = stack.journal.states(SHARDS)[batch.shard]
    parts = [pack_batch([event]) for event in unpack_batch(batch.packed)]
    stack.clock.advance(minutes=1)
    for _ in range(2):  # again: the reply of the first may be lost
        stack.journal.split(batch.shard, batch.batch_id, parts)
    after = stack.journal.states(SHARDS)[batch.shard]
    assert (after.batches, after.size, after.oldest_ms) == (3, sum(map(len, parts)), before.oldest_ms)
    work = stack.returned(overdue=False)  # at once, each alone, and as if it had not been tried
    assert [(len(one[batch.shard]), one[batch.shard][0].deliveries) for one in work] == [(1, 1)] * 3
    workers_take(stack, work)
    assert stack.progress()[("logins", "")] == (3, True)
    assert stack.journal.states(SHARDS)[batch.shard] == (0, 0, 0, 0)


def test_a_batch_that_takes_too_long_is_given_up_with_its_cause(stack, monkeypatch):
    def too_long(*_call, **_options):
        raise SoftTimeLimitExceeded

    stack.accept(stack.event("login"))
    monkeypatch.setattr(type(stack.records), "apply", too_long)
    work = [stack.take()]
    for _ in range(stack.max_attempts):
        [(shard, [batch])] = work[0].items()
        with pytest.raises(SoftTimeLimitExceeded) as caught:
            stack.work(work[0])
        stack.attempts.note(shard, batch.batch_id, caught.value)  # as worker/task_failures.py does
        work = stack.returned()
    stack.work(work[0])
    [dead_letter] = dead_letters(stack)
    assert (dead_letter.reason, dead_letter.exception) == ("out_of_attempts", "SoftTimeLimitExceeded")
    assert (journaled(stack), dead_letter.attempts) == (0, stack.max_attempts)


def test_redis_away_while_a_batch_is_tried_is_no_try(stack, monkeypatch):
    [batch] = stack.accept(stack.event("login"))

    def away(*_call, **_options):
        raise StateUnavailableError("away")

    monkeypatch.setattr(type(stack.records), "apply", away)
    stack.apply(batch)
    stack.try_again()
    [work] = stack.returned()
    assert work[batch.shard][0].deliveries == 2
    assert len(stack.slept) == 2 * (ATTEMPTS - 1)
    assert all(0 <= wait <= 0.8 for wait in stack.slept)
    assert counted(stack, "questline_retries_total{StateUnavailableError}") == len(stack.slept)


def test_a_blink_of_a_server_is_waited_for_and_nothing_is_put_back(stack, monkeypatch):
    snapshots, faults = stack.reader.snapshots, [DatabaseUnavailableError("a"), DatabaseUnavailableError("b")]

    def blinking(*call, **options):
        if faults:
            raise faults.pop()
        return snapshots(*call, **options)

    object.__setattr__(
        stack.evaluator, "reader", stack.retries.wrap(type("Blinking", (), {"snapshots": staticmethod(blinking)}))
    )
    stack.post(stack.event("login"))
    assert stack.progress()[("logins", "")] == (1, False)
    assert len(stack.slept) == 2
