"""Goals with rules in a challenges file: their keys, their links, and every fault at its place."""

import json

import pytest

from models.errors import InvalidChallengesError
from models.rules.challenge_file.language.parser import parse_expression
from models.rules.challenge_file.parser import parse_challenges
from models.rules.challenge_file.rule_text import json_of
from models.rules.operators import OPERATORS

DAY = 86_400_000_000

*_FIRST, _LAST = OPERATORS
_OPERATORS = f"{', '.join(_FIRST)} or {_LAST}"


def goal(goal_id="g", rule="count(e) >= 1", **changes):
    return {"id": goal_id, "rule": rule} | changes


def load(*goals):
    return parse_challenges(json.dumps({"challenges": [{"id": "c", "goals": list(goals)}]}), "f.json")


def faults_of(*goals):
    with pytest.raises(InvalidChallengesError) as caught:
        load(*goals)
    return [fault.removeprefix("f.json: challenge 'c', goal ") for fault in caught.value.faults]


def test_a_rule_is_the_same_in_both_forms():
    text = "all([a, count(e where payload.x == 1) >= 2], within=7d)"

    (_, one, other) = load(goal("a"), goal("b", text), goal("c", json_of(parse_expression(text)))).goals

    assert one.rule == other.rule == parse_expression(text)
    assert one.event_types == {"e"}


def test_all_keys_of_a_goal_are_kept():
    keys = {
        "active_from": "2026-11-21T00:00:00Z",
        "active_until": "2026-11-22T01:00:00+01:00",
        "segments": {"plan": "pro", "level": [1, 2.0], "beta": True},
        "hidden": True,
        "secret": True,
        "on_change": "grandfather",
    }

    (found,) = load(goal(**keys)).goals

    assert found.active_until - found.active_from == DAY
    assert found.segments == {"plan": ("pro",), "level": (1, 2), "beta": (True,)}
    assert (found.hidden, found.secret, found.on_change) == (True, True, "grandfather")


def test_what_is_not_said_is_as_before():
    (found,) = load(goal()).goals

    assert (found.active_from, found.active_until, found.segments) == (None, None, {})
    assert (found.hidden, found.secret, found.on_change) == (False, False, "keep")


def test_the_goals_of_three_types_take_the_same_keys():
    typed = {"id": "g", "type": "daily", "event_source": "e", "requirement": {"target": 1}, "hidden": True}

    assert load(typed).goals[0].hidden


def test_a_goal_that_measures_nothing_is_told_of_rules_first():
    assert faults_of({"id": "g"}) == [
        "'g': rule: is missing; a goal without one has type, event_source and requirement"
    ]
    assert faults_of({"id": "g", "type": "daily"}) == ["'g': event_source: is missing", "'g': requirement: is missing"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rule": 5}, "rule: must be an object or an expression, is 5"),
        ({"rule": {}}, "rule.op: is missing"),
        ({"rule": {"op": "cuont"}}, f"rule.op: must be {_OPERATORS}, is 'cuont'; did you mean count?"),
        ({"rule": {"op": "count", "event": "e"}}, "rule.target: is missing"),
        ({"rule": {"op": "count", "event": "e", "target": 1, "tmezone": 1}},
         "rule.tmezone: is not a known key; did you mean timezone?"),
        ({"rule": {"op": "count", "event": "e", "target": 1, "timezone": "UTC"}},
         "rule.timezone: says where periods begin, and this rule has none: give it per"),
        ({"rule": {"op": "count", "event": "e", "target": 1, "per": "day", "timezone": "Mars/Base"}},
         "rule.timezone: must be an IANA time zone such as Europe/Berlin, UTC, or user, is 'Mars/Base'"),
        ({"rule": {"op": "count", "event": "e", "target": 1, "where": [{"field": "value", "cmp": "=", "value": 1}]}},
         "rule.where[0].cmp: must be ==, !=, <, <=, >, >=, in or not in, is '='"),
        ({"rule": {"op": "count", "event": "e", "target": 1, "where": [{"field": "value", "cmp": "in", "value": 1}]}},
         "rule.where[0].value: must be a list of 1 to 100 values, is 1"),
        ({"rule": {"op": "count", "event": "e", "target": 1, "where": [{"feld": "value", "cmp": "==", "value": 1}]}},
         ["rule.where[0].field: is missing", "rule.where[0].feld: is not a known key; did you mean field?"]),
        ({"rule": {"op": "all", "of": []}}, "rule.of: must not be empty"),
        ({"rule": {"op": "all", "of": [{"op": "latest", "event": "e", "target": 1}] * 17}},
         "rule.of: must hold at most 16, holds 17"),
        ({"rule": {"op": "streak", "event": "e", "target": 2, "grace": 31}},
         "rule.grace: must be a whole number from 0 to 30, is 31"),
        ({"rule": "count(e) >= 1", "type": "daily"},
         "type: stands beside rule: a goal has either type, event_source and requirement, or a rule"),
        ({"active_from": "2026-11-21"},
         "active_from: must be a date and time with an offset, such as 2026-12-01T00:00:00Z, is '2026-11-21'"),
        ({"active_from": "1969-01-01T00:00:00Z"}, ("active_from: must lie between 1970 and 2255, is "
         "'1969-01-01T00:00:00Z'")),
        ({"active_from": "2026-11-21T00:00:00Z", "active_until": "2026-11-21T00:00:00Z"},
         "active_until: must be later than active_from"),
        ({"segments": {}}, "segments: must not be empty"),
        ({"segments": {"plan": []}}, "segments.plan: must be one value or a list of 1 to 64, is a list of 0"),
        ({"segments": {"plan": [None]}}, "segments.plan: must be text, a number or a boolean, is null"),
        ({"hidden": 1}, "hidden: must be true or false, is 1"),
        ({"on_change": "reset"}, "on_change: must be keep, restart or grandfather, is 'reset'"),
        ({"segment": {}}, "segment: is not a known key; did you mean segments?"),
    ],
)  # fmt: skip
def test_a_fault_names_the_field_and_the_reason(changes, fault):
    expected = fault if isinstance(fault, list) else [fault]

    assert faults_of(goal(**changes)) == [f"'g': {one}" for one in expected]


def test_a_fault_of_an_expression_shows_it_with_a_caret():
    assert faults_of(goal(rule="count(lesson.completed >= 10"), goal("h", "count(a\n last 7) >= 2")) == [
        (
            "'g': rule: expected ',', ')', 'where', 'per', 'last' or a threshold such as >= 10\n"
            "    count(lesson.completed >= 10\n"
            "                                ^ line 1, column 29"
        ),
        (
            "'h': rule.last: must be a duration such as 500ms, 36h or 7d, is '7'\n"
            "     last 7) >= 2\n"
            "          ^ line 2, column 7"
        ),
    ]


def test_references_are_held_to_the_goals_of_the_file():
    assert faults_of(goal("g", "all([g, nowhere, h, h])"), goal("h", {"op": "any", "of": ["nobody"]})) == [
        "'g': rule.of[0]: is the goal itself\n    all([g, nowhere, h, h])\n         ^ line 1, column 6",
        (
            "'g': rule.of[1]: names the goal 'nowhere', which does not exist\n"
            "    all([g, nowhere, h, h])\n"
            "            ^ line 1, column 9"
        ),
        (
            "'g': rule.of[3]: names the goal 'h' a second time\n"
            "    all([g, nowhere, h, h])\n"
            "                        ^ line 1, column 21"
        ),
        "'h': rule.of[0]: names the goal 'nobody', which does not exist",
    ]


def test_circles_over_rules_and_prerequisites_are_found_together():
    circle = (
        goal("a", {"op": "any", "of": [{"op": "all", "of": ["b"]}]}),
        goal("b", prerequisites=["d"]),
        goal("d", "all([a])"),
    )

    assert faults_of(*circle) == ["'a': rule.of[0].of[0]: forms a circle: 'a' needs 'b' needs 'd' needs 'a'"]
    assert faults_of(goal("x", "all([y])"), goal("y", prerequisites=["x"])) == [
        "'x': rule.of[0]: forms a circle: 'x' needs 'y' needs 'x'\n    all([y])\n         ^ line 1, column 6"
    ]


def test_faults_of_all_kinds_are_said_at_once():
    assert len(faults_of(goal("a", "count(", prerequisites=["x"]), goal("b", "all([y])", hidden=2))) == 4


def test_a_key_named_twice_in_a_rule_is_a_fault():
    text = '{"challenges": [{"id": "c", "goals": [{"id": "g", "rule": {"op": "any", "op": "all", "of": ["h"]}}]}]}'

    with pytest.raises(InvalidChallengesError) as caught:
        parse_challenges(text, "f.json")

    assert "rule.op: is named twice in one object" in caught.value.faults[0]


def test_the_file_may_name_its_schema():
    text = '{"$schema": "x.json", "challenges": [{"id": "c", "goals": [{"id": "g", "rule": "count(e) >= 1"}]}]}'

    assert parse_challenges(text, "f.json").goals
