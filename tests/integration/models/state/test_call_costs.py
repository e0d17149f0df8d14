"""No call of a script holds Redis for long: what one call takes is cut by what its rules cost, not by its events."""

from datetime import timedelta

import pytest

from config.shards import shard_for
from models.database.connection import connect_database
from models.errors import StateUnavailableError
from models.rules.costs import Cost
from models.rules.goals import Rulebook
from models.state.progress.apply_request import CALL_LIMIT, make_request, make_requests
from models.state.queue.call_parts import CALL_WEIGHT
from tests.support.journal import journaled_batches
from tests.support.stack import NOON, SHARDS, Stack, goal

GOALS = 350
DEAR = Rulebook(tuple(goal(f"g{n}", "count", "login", target=n + 2) for n in range(GOALS)))


@pytest.fixture
def dear(redis, engine):
    """Rules by which an event costs a third of a call."""
    return Stack(redis, engine, rulebook=DEAR)


def calls(redis):
    """How often the apply script was called, by the entries it made in the shards' logs."""
    return sum(redis.xlen(key) for key in redis.keys("*:log"))


def test_events_of_one_batch_are_cut_by_steps_and_all_count_once(dear, redis):
    batch = dear.accept(*(dear.event("login") for _ in range(5)))
    for _ in range(2):
        dear.apply(*batch)
    assert calls(redis) == 3
    assert len(dear.progress()) == GOALS
    assert {progress for progress, _ in dear.progress().values()} == {5}
    assert sum(state.batches for state in dear.journal.states(4)) == 0
    dear.flusher.flush()
    assert (dear.count("events"), dear.count("dead_letters")) == (5, 0)


def test_merged_batches_are_cut_too(dear, redis):
    waiting = [dear.accept(dear.event("login", f"u{n % 2}"))[0] for n in range(6)]
    dear.apply(*waiting)
    assert dear.progress("u0")[("g0", "")] == (3, True)
    assert calls(redis) >= 3
    assert sum(state.batches for state in dear.journal.states(4)) == 0


def test_a_batch_leaves_the_journal_with_its_last_call(dear, redis, monkeypatch):
    (batch,) = dear.accept(*(dear.event("login") for _ in range(5)))
    apply, made = dear.records.apply, []

    def dying(*args, **options):
        made.append(args)
        if len(made) == 2:  # the user is cold at first
            raise StateUnavailableError("killed here")
        return apply(*args, **options)

    monkeypatch.setattr(dear.evaluator.records, "apply", dying)
    monkeypatch.setattr("tasks.retries.ATTEMPTS", 1)
    dear.apply(batch)
    assert journaled_batches(redis, SHARDS) == [batch]
    for _ in range(3):
        dear.apply(batch)
    assert journaled_batches(redis, SHARDS) == []
    assert {progress for progress, _ in dear.progress().values()} == {5}


def test_users_whose_record_is_there_do_not_wait_for_those_of_another_call(dear, redis):
    dear.post(dear.event("login", "u0"))
    away = connect_database("postgresql://nobody:x@127.0.0.1:1/none")
    dear.reader._engine, there = away, dear.reader._engine
    shard = shard_for("t1", "u0", SHARDS)
    same = [name for name in (f"n{n}" for n in range(99)) if shard_for("t1", name, SHARDS) == shard]
    events = [dear.event("login", name) for name in (*same[:4], "u0", "u0")]
    (batch,) = dear.accept(*events)
    dear.apply(batch)
    assert dear.progress("u0")[("g0", "")] == (3, True)
    assert journaled_batches(redis, SHARDS) == [batch]
    dear.reader._engine = there
    dear.apply(batch)
    assert dear.progress(same[0])[("g0", "")] == (1, False)
    assert journaled_batches(redis, SHARDS) == []


def test_no_plan_costs_more_than_a_call_may_unless_it_is_one_event(dear):
    events = [dear.event("login", f"u{n % 7}", at=NOON - timedelta(hours=n)) for n in range(20)]
    matcher = dear.matcher()
    plans = make_requests(matcher, events, b"")
    assert [event for request in plans for event in request.events] == events
    for request in plans:
        assert sum(matcher.cost(event, matcher.steps(event)).steps for event in request.events) <= CALL_LIMIT.steps
    alone = make_requests(matcher, events, b"", limit=Cost(1, 1))
    assert [len(request.events) for request in alone] == [1] * 20
    by_size = make_requests(
        matcher, events, b"", limit=Cost(10**9, 2 * matcher.cost(events[0], matcher.steps(events[0])).size)
    )
    assert len(by_size) > 9


def test_events_that_move_nothing_share_a_call(dear):
    events = [dear.event("other", f"u{n}") for n in range(250)]
    assert len(make_requests(dear.matcher(), events, b"")) == 1


def test_a_call_at_the_bound_is_a_small_part_of_what_the_batch_takes(dear, redis):
    """On any machine: without the cut one call would do it all."""
    events = [dear.event("login", f"u{n}") for n in range(40)]
    matcher = dear.matcher()
    whole = make_request(matcher, events, b"")
    assert len(whole.pack()) > 4 * max(len(request.pack()) for request in make_requests(matcher, events, b""))


def test_many_users_are_loaded_in_several_calls_and_all_are_right(redis, engine, monkeypatch):
    rules = Rulebook(tuple(goal(f"g{n}", "count", "login", per="day") for n in range(40)))
    stack = Stack(redis, engine, rulebook=rules)
    users = [f"u{n}" for n in range(250)]
    stack.post(*(stack.event("login", user) for user in users))
    stack.flusher.flush()
    redis.flushall()
    stack.catch_up(None)
    hydrate, calls = stack.records._hydrate, []

    def counted(**given):
        calls.append(len(given["keys"]))
        return hydrate(**given)

    monkeypatch.setattr(stack.records, "_hydrate", counted)
    stack.post(*(stack.event("login", user) for user in users))
    assert len(calls) > SHARDS
    assert max(calls) < 4 * CALL_WEIGHT // 40 + 2
    assert {progress for user in users for progress, _ in stack.progress(user).values()} == {2}
