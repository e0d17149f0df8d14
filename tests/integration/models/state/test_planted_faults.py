"""The comparison of the two engines is worth what it finds: each fault planted in the Lua code must be found.

A fault is a small change of meaning, of the kind that a tired reader would pass over.
"""

import pytest
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from models.rules.engine import apply_all
from models.rules.goals import Publications, only
from models.rules.matcher import Matcher
from models.state.lua_source import in_lua, with_parts
from models.state.progress.script_text import operator_constants, script_text
from tests.conftest import long_only
from tests.support.engines import LiveEngine, meanings
from tests.support.rule_strategies import HOUR, HOURS, START, events, histories, rulebooks

pytestmark = pytest.mark.slow

NOW = START + (HOURS + 1) * HOUR


def _rules(*ops):
    return rulebooks(max_goals=2, ops=ops, flat=True).map(only)


COUNT, SUM, BEST, DISTINCT = _rules("count"), _rules("sum"), _rules("max", "min"), _rules("distinct")
LATEST, STREAK, SEQUENCE, DAYS = _rules("latest"), _rules("streak"), _rules("sequence"), _rules("days")
OVER = rulebooks(max_goals=3, ops=("count", "max")).map(only)
"""Goals over others."""
MANY = histories()
"""Rules that change."""

FAULTS = {
    "a count that starts with two": (COUNT, "local count = state[#state] + 1", "local count = math.max(2, state[#state] + 1)"),
    "a count within a duration that forgets a time": (OVER, "  cut(state, target + 1)\n", "  cut(state, target)\n"),
    "a sum without its carry": (SUM, "state[1] + high + carry, total_low", "state[1] + high, total_low"),
    "a newest value by arrival": (LATEST, "#state == 0 or at > state[2] or", "#state == 0 or at ~= state[2] or"),
    "a maximum that must be passed": (BEST, "state[1] = math.max(state[1] or value, value)\n  local reached = value >= node", "state[1] = math.max(state[1] or value, value)\n  local reached = value > node"),
    "a minimum that takes the larger": (BEST, "math.min(state[1] or value, value)", "math.max(state[1] or value, value)"),
    "a distinct value that keeps its last time": (DISTINCT, "or state[index + 1] > at then", "or state[index + 1] < at then"),
    "a streak that a late day does not join": (STREAK, "if joins_before and joins_after then", "if false then"),
    "a streak that one more missed day does not break": (STREAK, "if missed > node[Streak.grace] then", "if missed > node[Streak.grace] + 1 then"),
    "a day that counts with one event less": (DAYS, "(state[index + 1] == min and 1 or 0)", "(state[index + 1] == min - 1 and 1 or 0)"),
    "a day that counts again": (DAYS, "if state[index + 1] < min then", "if true then"),
    "a sequence in order of arrival": (SEQUENCE, "if time > at or (time == at and not strict) then", "if true then"),
    "a sequence that ends one step early": (SEQUENCE, "if length == #state - 1 and", "if length >= #state - 2 and"),
    "a composite that needs one part less": (OVER, "if #done < target then", "if #done < target - 1 then"),
    "prerequisites that nobody waits for": (OVER, "if opened_at ~= 0 and", "if"),
    "a goal that does not hear of its prerequisites": (OVER, "      if changed then\n        unlock(nodes[composite[Node.unlocks]])\n      end\n", ""),
    "a part that forgets its composite": (OVER, "local parents, completed = node[Node.parents],", "local parents, completed = {},"),
    "a version that carries nothing on": (MANY, "oldest > 0 and version_states or {}", "{}"),
    "a late event that the next version does not hear of": (MANY, "local create = mode == Mode.CURRENT or mode == Mode.GRANDFATHERED", "local create = mode == Mode.CURRENT"),
    "users who all move to the next version": (MANY, "if version_state[VersionState.IS_CURRENT] and not stays then", "if version_state[VersionState.IS_CURRENT] then"),
}  # fmt: skip


def _differs(redis, source, publications, drawn):
    matcher = Matcher(publications)
    engine = LiveEngine(redis, matcher, NOW)
    engine.records._apply = redis.register_script(source)
    engine.forget()
    for event in reversed(drawn):
        engine.apply([event])
    return meanings(engine.rows()) != meanings(apply_all(matcher, drawn).values())


def _search(redis, source, rules, *, examples=4000):
    """Look for an example on which the engines differ."""
    return find(
        st.tuples(rules, events(max_size=10)),
        lambda example: _differs(redis, source, *example),
        settings=_searching(examples),
    )


def _searching(examples):
    """The same examples each time, none of them shortened: finding one is enough."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=long_only if index % 2 else ()) for index, name in enumerate(FAULTS)]
)
def test_a_planted_fault_is_found(redis, name):
    rules, right, wrong = FAULTS[name]
    source = with_parts("apply_events")
    assert source.count(right) == 1, "the code has changed: plant the fault anew"
    publications, drawn = _search(redis, in_lua(source.replace(right, wrong), operator_constants()), rules)
    assert isinstance(publications, Publications)
    assert drawn


def test_the_code_as_it_stands_passes_the_same_search(redis):
    with pytest.raises(NoSuchExample):
        _search(redis, script_text("apply_events"), OVER, examples=200)
