"""The result is a function of the set of accepted events (P3), and Lua agrees with the reference (P11).

Hypothesis draws events, then an order, duplicates, cuts into batches, flushes and losses of Redis between them; both
engines must end with the same rows, in Redis and in PostgreSQL.
"""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from config.shards import shard_for
from models.rules.amounts import BASE, join, split
from models.rules.engine import apply_all
from models.rules.operators import progress_of
from tests.conftest import examples
from tests.support.stack import GOALS, NOON, SHARDS

pytestmark = pytest.mark.slow

EVENTS = 12
USERS = ("u1", "u2", "u:3")

amounts = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: round(number, 6)),
    st.none(),
)
drawn = st.lists(
    st.tuples(
        st.sampled_from(["login", "workout", "statistic:level", "nobody.cares"]),
        st.sampled_from(USERS),
        st.integers(0, 5 * 24 * 60),
        amounts,
        st.one_of(st.none(), st.integers(-5, 5)),
    ),
    min_size=1,
    max_size=EVENTS,
)
LOSSES = {"wipe", "evict"}
"""Steps after which Redis may have no record of a user."""
steps = st.lists(st.sampled_from(["batch", "flush", "wipe", "evict"]), max_size=6)


def _posted(stack, data):
    return [
        stack.event(kind, user, event_id=f"e{n}", at=NOON - timedelta(minutes=ago), value=value, increment=increment)
        for n, (kind, user, ago, value, increment) in enumerate(data)
    ]


def _meaning(row):
    return row._replace(
        record_version=0,
        created_at=0,
        updated_at=0,
        completed_at=bool(row.completed_at),
        reached_at=bool(row.reached_at),
        version_states=list(row.version_states),
    )


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(data=drawn, extra=st.data(), plan=steps)
def test_any_order_duplicates_cuts_and_losses_give_the_rows_of_the_reference(stack, data, extra, plan):
    _empty(stack)
    events = _posted(stack, data)
    arrivals = extra.draw(st.permutations(events + extra.draw(st.lists(st.sampled_from(events), max_size=5))))
    cuts = sorted(extra.draw(st.lists(st.integers(0, len(arrivals)), max_size=3)))
    for start, end in zip([0, *cuts], [*cuts, len(arrivals)], strict=True):
        stack.post(*arrivals[start:end])
        last = {event.user_id for event in arrivals[start:end]}
        shown = {user: _in_redis(stack, user) for user in USERS}
        for step in plan:
            _disturb(stack, step)
    stack.flusher.flush()
    for user in USERS:
        expected = apply_all(GOALS, [event for event in events if event.user_id == user])
        # A record leaves Redis by a loss only, and the next event of its user brings it back whole.
        if shown[user] or user in last or not LOSSES.intersection(plan):
            assert shown[user] == {key: _meaning(row) for key, row in expected.items()}
        assert stack.rows(user) == {
            key: (Decimal(str(progress_of(row))), bool(row.completed_at)) for key, row in expected.items()
        }


def _in_redis(stack, user):
    rows = stack.records.read(shard_for("t1", user, SHARDS), "t1", user) or []
    return {(row.goal_id, row.period): _meaning(row) for row in rows}


def _empty(stack):
    stack.redis.flushall()
    with stack.engine.begin() as connection:
        for table in ("user_goal_progress", "events", "unlocks"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def _disturb(stack, step):
    if step == "flush":
        stack.flusher.flush()
    elif step == "wipe":
        stack.flusher.flush()
        stack.redis.flushall()
    elif step == "evict":
        stack.flusher.flush()
        for key in stack.redis.keys("*:u:*"):
            stack.redis.delete(key)


@given(st.lists(amounts.filter(lambda number: number is not None), max_size=30), st.randoms())
def test_adding_halves_is_exact_and_order_free(numbers, random):
    def total(numbers):
        high = low = 0
        for number in numbers:
            more_high, more_low = split(number)
            carry, low = divmod(low + more_low, BASE)
            high += more_high + carry
        return join(high, low)

    shuffled = list(numbers)
    random.shuffle(shuffled)
    assert total(numbers) == total(shuffled)
    assert total(numbers) == sum(Decimal(repr(number)) for number in numbers)


@given(amounts.filter(lambda number: number is not None))
def test_a_number_of_up_to_nine_decimals_survives_its_halves(number):
    high, low = split(number)
    assert 0 <= low < BASE
    assert float(join(high, low)) == number
