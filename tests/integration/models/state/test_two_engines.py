"""Two engines, one meaning (P11), whatever the order (P3): random rules and events, in Lua and in the reference.

Hypothesis draws a rule set, events, an order, duplicates, cuts into batches and evictions between them; the rows of
the live engine must be, field by field, those that the reference makes of the events in the order they were drawn.
``make test-long`` draws ten times as many.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.rules.engine import apply_all
from models.rules.goals import only
from models.rules.matcher import Matcher
from models.rules.operators import progress_of
from tests.conftest import examples
from tests.support.engines import LiveEngine, meanings
from tests.support.operator_cases import CASES, events_of, hour_of, rulebook_of
from tests.support.rule_strategies import HOUR, HOURS, START, events, histories, rulebooks

pytestmark = pytest.mark.slow

NOW = START + (HOURS + 1) * HOUR
RELAXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def _arrivals(draw, drawn):
    """The events in another order, some twice, cut into batches, with evictions between them."""
    repeats = draw(st.lists(st.sampled_from(drawn), max_size=4))
    order = draw(st.permutations(drawn + repeats))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    evictions = draw(st.integers(0, 2 ** (len(cuts) + 1) - 1))
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(order)], strict=True)):
        yield order[start:end], bool(evictions >> number & 1)


def _live_rows(redis, matcher, arrivals):
    engine = LiveEngine(redis, matcher, NOW)
    engine.forget()
    for batch, evict in arrivals:
        engine.apply(batch)
        if evict:
            engine.evict("t", "u")
    return meanings(engine.known_rows("t", "u"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_live_engine_measures(redis, case):
    engine = LiveEngine(redis, Matcher(only(rulebook_of(case))), NOW)
    for event in events_of(case):
        engine.apply([event])
    rows = {(row.goal_id, row.period): (progress_of(row), hour_of(row.completed_at)) for row in engine.rows()}
    assert rows == case.rows


@settings(max_examples=examples(400), deadline=None, suppress_health_check=RELAXED)
@given(rulebook=rulebooks(), drawn=events(), data=st.data())
def test_lua_and_the_reference_agree_on_any_rules_in_any_order(redis, rulebook, drawn, data):
    matcher = Matcher(only(rulebook))
    live = _live_rows(redis, matcher, _arrivals(data.draw, drawn))
    assert live == meanings(apply_all(matcher, drawn).values())


@settings(max_examples=examples(200), deadline=None, suppress_health_check=RELAXED)
@given(history=histories(), drawn=events(), data=st.data())
def test_lua_and_the_reference_agree_across_changes_of_the_rules(redis, history, drawn, data):
    matcher = Matcher(history)
    live = _live_rows(redis, matcher, _arrivals(data.draw, drawn))
    assert live == meanings(apply_all(matcher, drawn).values())


@settings(max_examples=examples(200), deadline=None, suppress_health_check=RELAXED)
@given(rulebook=rulebooks(), drawn=events(), data=st.data())
def test_a_completion_is_never_taken_back_and_no_order_makes_another(rulebook, drawn, data):
    matcher = Matcher(only(rulebook))
    order = data.draw(st.permutations(drawn))
    completed: set[tuple[str, str]] = set()
    for end in range(len(order) + 1):
        now = {key for key, row in apply_all(matcher, order[:end]).items() if row.completed_at}
        assert completed <= now
        completed = now
    assert meanings(apply_all(matcher, order).values()) == meanings(apply_all(matcher, drawn).values())
