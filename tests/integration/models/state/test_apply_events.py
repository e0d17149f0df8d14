"""What one call of the apply script guarantees, on a real Redis and a real PostgreSQL."""

from datetime import timedelta

import pytest

from config.shards import shard_for
from models.errors import StateUnavailableError
from models.events import pack_batch
from models.rules.engine import apply_all
from models.rules.goals import Rulebook
from models.rules.matcher import always
from models.rules.rows import Row
from models.state.connection import connect_state
from models.state.keys import shard_keys, stream_keys
from models.state.progress.apply_request import make_request
from models.state.progress.records import Records
from tests.support.stack import GOALS, NOON, SHARDS, Stack, goal


def test_an_event_moves_every_goal_of_its_type(stack):
    stack.post(stack.event("login"))
    assert stack.progress() == {("daily-login", "2026-11-21"): (1, True), ("logins", ""): (1, False)}


def test_a_redelivered_batch_counts_once(stack):
    batches = stack.accept(stack.event("login"), stack.event("workout", value=20))
    stack.apply(*batches)
    stack.apply(*batches)
    assert stack.progress()[("logins", "")] == (1, False)
    assert stack.progress()[("minutes", "")] == (20, False)


def test_the_same_event_in_another_batch_with_another_time_counts_once(stack):
    stack.post(stack.event("login", event_id="e1"))
    stack.post(stack.event("login", event_id="e1", at=NOON - timedelta(days=2)))
    assert stack.progress()[("logins", "")] == (1, False)


def test_a_duplicate_is_remembered_for_the_whole_accepted_lateness(stack):
    stack.post(stack.event("login", event_id="e1"))
    stack.clock.advance(days=6, hours=23)
    stack.post(stack.event("login", event_id="e1", at=NOON))
    assert stack.progress()[("logins", "")] == (1, False)


def test_a_batch_that_holds_an_event_twice_counts_it_once(stack):
    event = stack.event("login")
    stack.post(event, event)
    assert stack.progress()[("logins", "")] == (1, False)


def test_the_journal_entry_leaves_with_the_application(stack):
    batches = stack.accept(stack.event("login"))
    assert sum(state.batches for state in stack.journal.states(SHARDS)) == 1
    stack.apply(*batches)
    states = stack.journal.states(SHARDS)
    assert states == [(0, 0, 0, 0)] * SHARDS


def test_ids_with_separators_never_share_a_record(stack):
    stack.post(stack.event("login", "a:b"), stack.event("login", "a|b"), stack.event("login", "b", tenant="t1.a"))
    for tenant, user in (("t1", "a:b"), ("t1", "a|b"), ("t1.a", "b")):
        assert stack.progress(user, tenant)[("logins", "")] == (1, False)


def test_a_value_falling_after_completion_stays_complete(stack):
    stack.post(stack.event("statistic:level", value=12))
    stack.clock.advance(seconds=1)
    stack.post(stack.event("statistic:level", value=4))
    assert stack.progress()[("level", "")] == (4, True)


def test_an_older_value_arriving_late_does_not_overwrite_a_newer_one(stack):
    stack.post(stack.event("statistic:level", value=7))
    stack.post(stack.event("statistic:level", value=3, at=NOON - timedelta(hours=1)))
    assert stack.progress()[("level", "")] == (7, False)


def test_decimal_amounts_add_exactly_in_any_order(stack):
    stack.post(*(stack.event("workout", value=0.1) for _ in range(10)))
    assert stack.progress()[("minutes", "")] == (1, False)


def test_a_late_login_lands_in_its_own_day(stack):
    stack.post(stack.event("login"), stack.event("login", at=NOON - timedelta(days=3)))
    assert {period for goal, period in stack.progress() if goal == "daily-login"} == {"2026-11-21", "2026-11-18"}


def test_lua_and_the_reference_agree_on_the_whole_row(stack):
    events = [stack.event("workout", value=value) for value in (2**53, 0.25, 12.5, -3, 0)]
    events += [stack.event("statistic:level", value=value) for value in (3, 11.5, 2)]
    events += [stack.event("login"), stack.event("workout")]
    stack.post(*events)
    rows = stack.records.read(shard_for("t1", "u1", SHARDS), "t1", "u1")
    expected = apply_all(GOALS, events)
    assert {(row.goal_id, row.period): _meaning(row) for row in rows} == {
        key: _meaning(row) for key, row in expected.items()
    }


def _meaning(row: Row):
    return row._replace(record_version=0, created_at=0, updated_at=0, version_states=list(row.version_states))


def test_versions_grow_with_every_change_and_start_at_the_servers_clock(stack, redis):
    stack.post(stack.event("login"))
    version_key = shard_keys(shard_for("t1", "u1", SHARDS)).record_version
    first = int(redis.get(version_key))
    seconds, _ = redis.time()
    assert abs(first / 1e6 - seconds) < 60
    stack.post(stack.event("login"))
    assert int(redis.get(version_key)) > first


def test_a_clean_record_expires_and_a_dirty_one_does_not(stack, redis):
    stack.post(stack.event("login"))
    record = next(key for key in redis.keys("*:u:*"))
    assert redis.ttl(record) == -1
    stack.flusher.flush()
    assert 0 < redis.ttl(record) <= 3600
    stack.post(stack.event("login"))
    assert redis.ttl(record) == -1


def test_an_event_that_no_goal_wants_is_logged_and_leaves_nothing_dirty(stack, redis):
    stack.post(stack.event("nobody.cares"))
    assert sum(stack.records.dirty_counts(SHARDS)) == 0
    assert all(redis.ttl(key) > 0 for key in redis.keys("*:u:*"))
    stack.flusher.flush()
    assert stack.count("events") == 1


def test_every_key_has_a_ttl_or_belongs_to_the_shard(stack, redis):
    stack.post(stack.event("login"), stack.event("workout", "u2", value=3))
    stack.flusher.flush()
    lasting = {key.decode() for key in redis.keys("*") if redis.ttl(key) == -1}
    shards = {key for shard in range(SHARDS) for key in (*shard_keys(shard), *stream_keys(shard))}
    assert lasting <= shards


def test_a_hot_user_with_many_goals_fits_lua(redis, engine):
    goals = tuple(goal(f"g{n}", "count", "login", per="day") for n in range(300))
    stack = Stack(redis, engine, rulebook=Rulebook(goals))
    stack.post(*(stack.event("login", at=NOON - timedelta(days=day)) for day in range(8)))
    assert len(stack.progress()) == 2400
    stack.flusher.flush()
    assert len(stack.rows()) == 2400


def test_a_server_that_is_away_is_a_retryable_error():
    records = Records(connect_state("redis://127.0.0.1:1/0"), window=timedelta(days=7), record_ttl=timedelta(hours=1))
    with pytest.raises(StateUnavailableError):
        records.apply(0, ["b"], make_request(always(GOALS), [], pack_batch([])), now_us=1)
