"""What becomes of progress when a goal's meaning changes, and which changes need a new id."""

from dataclasses import replace

import pytest

from models.rules.operators import make_rule
from models.rules.rule import Condition
from models.rules.succession import changes_of_kind, policy_in_effect
from tests.support.stack import goal

COUNT = goal("g", "count", "login", target=10)
WHERE = (Condition("value", ">", 1),)


@pytest.mark.parametrize(
    ("asked", "change", "policy"),
    [
        ("keep", {"target": 20}, "keep"),
        ("keep", {"events": ("visit",), "where": WHERE}, "keep"),
        ("keep", {"per": "day"}, "restart"),
        ("keep", {"op": "sum"}, "restart"),
        ("keep", {"last": 5}, "restart"),
        ("restart", {"target": 20}, "restart"),
        ("grandfather", {"target": 20}, "grandfather"),
        ("grandfather", {"events": ("visit",)}, "keep"),
        ("grandfather", {"where": WHERE}, "keep"),
        ("grandfather", {"per": "week"}, "restart"),
    ],
)
def test_a_policy_is_the_one_asked_for_where_that_can_be(asked, change, policy):
    rule = make_rule(**{"op": "count", "events": COUNT.rule.events, "target": 10} | change)
    after = replace(COUNT, rule=rule, on_change=asked)
    assert policy_in_effect(COUNT, after) == policy


def test_users_cannot_stay_where_other_events_count():
    after = replace(COUNT, segments={"plan": ("pro",)}, on_change="grandfather")
    assert policy_in_effect(COUNT, after) == "keep"


def test_a_composite_keeps_and_asks_its_parts():
    before = goal("g", "all", of=("a", "b"), target=2)
    after = replace(before, rule=make_rule("any", of=("a", "b")), on_change="grandfather")
    assert policy_in_effect(before, after) == "keep"


def test_a_rule_over_others_cannot_take_the_place_of_one_that_looks_at_events():
    part = make_rule(op="count", events=("login",))
    over = make_rule(op="any", of=("a",))
    assert list(changes_of_kind(part, over)) == ["rule: was count, is any"]
    assert list(changes_of_kind(part, make_rule("sum", events=("login",)))) == []
    before = make_rule(op="all", of=(part, "a", over), target=3)
    after = make_rule(op="all", of=("a", over, part), target=3)
    assert list(changes_of_kind(before, after)) == ["rule.of[2]: was any, is count"]
