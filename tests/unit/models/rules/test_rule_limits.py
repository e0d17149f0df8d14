"""Rules whose state would grow without a useful bound, and targets that cannot be reached, are refused."""

import json
from datetime import timedelta

import pytest

from models.errors import InvalidChallengesError
from models.rules.challenge_file.parser import parse_challenges


def goal(goal_id="g", rule="count(e) >= 1", **changes):
    return {"id": goal_id, "rule": rule} | changes


def load(*goals, **options):
    return parse_challenges(json.dumps({"challenges": [{"id": "c", "goals": list(goals)}]}), "f.json", **options)


def reasons(*goals, **options):
    """The first lines of the faults."""
    try:
        load(*goals, **options)
    except InvalidChallengesError as error:
        return [fault.split("\n")[0].removeprefix("f.json: challenge 'c', goal ") for fault in error.faults]
    return []


OTHERS = (goal("a"), goal("b"))


def test_a_rolling_window_remembers_at_most_a_thousand_times():
    assert reasons(goal(rule="count(e last 1d) >= 91")) == []
    assert reasons(goal(rule="count(e last 1d) >= 93")) == [
        (
            "'g': rule.last: makes the state unbounded: for 93 events of 1d it would have to remember 1012 times, "
            "at most 1000"
        )
    ]


def test_the_bound_grows_with_the_accepted_lateness():
    rule = "count(e last 1d) >= 50"

    assert reasons(goal(rule=rule)) == []
    assert len(reasons(goal(rule=rule), lateness=timedelta(days=30))) == 1


def test_a_composites_duration_is_not_too_short_for_the_lateness():
    assert reasons(*OTHERS, goal(rule="all([a, b], within=216m)")) == []
    assert reasons(*OTHERS, goal(rule="all([a, b], within=215m)")) == [
        "'g': rule.within: makes the state unbounded: with parts to combine it must be at least 216m"
    ]
    assert reasons(goal(rule="sequence([a, b], within=1m)")) == []


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("sum(e) >= 5", "the moment at which a sum completes depends on the order of arrival"),
        ("streak(e) >= 5", "the moment at which a streak completes depends on the order of arrival"),
        (
            "any([count(e) >= 1, count(f) >= 1], within=1d)",
            "the moment at which parts are complete within another duration depends on the order of arrival",
        ),
        ("count(e) >= 257", "a count of more than 256 does not remember its times"),
        ("count(e per day) >= 1", "it completes anew each day"),
    ],
)
def test_parts_within_a_duration_must_know_when_they_complete(rule, reason):
    assert reasons(goal("a", rule), goal(rule="all([a])")) == []
    named = f"'g': rule.of[0]: names the goal 'a', which cannot be a part within a duration: {reason}"
    assert reasons(goal("a", rule), goal(rule="all([a], within=7d)")) == [named]
    below = named.replace("'a'", "'b', which needs 'a'")
    assert reasons(goal("a", rule), goal("b", "any([a])"), goal(rule="all([b], within=7d)")) == [below]
    assert reasons(goal("a", rule), goal("b", prerequisites=["a"]), goal(rule="all([b], within=7d)")) == [below]
    if "per" not in rule:
        assert reasons(goal(rule=f"all([any([{rule}])], within=7d)")) == [
            f"'g': rule.of[0].of[0]: cannot be a part within a duration: {reason}"
        ]


@pytest.mark.parametrize(
    "rule", ["count(e) >= 256", "count(e last 7d) >= 9", "max(e) >= 5", "distinct(e, field=value) >= 5"]
)
def test_parts_that_know_their_moment_may_stand_within_a_duration(rule):
    assert reasons(goal("a", rule), goal(rule=f"all([a, {rule}, sequence([x, y])], within=7d)")) == []


def test_a_goal_holds_at_most_64_rules():
    sixteen = {"op": "any", "of": [{"op": "count", "event": "e", "target": 1}] * 15}
    rule = {"op": "any", "of": [sixteen] * 4}

    assert reasons(goal(rule={"op": "any", "of": [sixteen] * 3 + ["a"]}), *OTHERS) == []
    assert reasons(goal(rule=rule)) == ["'g': rule: holds 65 rules, prerequisites among them; at most 64 are allowed"]


@pytest.mark.parametrize("own", ["h#1", "h#2#1", "h#lock", "h#1#lock", "#3"])
def test_a_goal_is_not_called_as_a_part_of_any_goal_ever_could_be(own):
    # Also where no other goal has such a part: an earlier or a later publication may have one.
    assert reasons(goal(own)) == [
        f"{own!r}: id: must not end in #lock, or in # and a number: so the parts of goals are called"
    ]


@pytest.mark.parametrize("own", ["h#", "h#x", "h#1x", "h#locked", "lock", "#1 fan", "1"])
def test_other_ids_may_hold_a_number_sign(own):
    assert reasons(goal(own)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("active_from", "2026-11-21T00:00:00Z"),
        ("active_until", "2026-11-21T00:00:00Z"),
        ("segments", {"plan": "pro"}),
    ],
)
def test_what_limits_a_goals_events_stands_at_the_goals_that_a_rule_names(key, value):
    assert reasons(*OTHERS, goal(rule="all([a, any([b])])", **{key: value})) == [
        f"'g': {key}: does not reach the goals that the rule names; set it on those goals"
    ]
    assert reasons(goal(rule="all([count(e) >= 1])", **{key: value})) == []


@pytest.mark.parametrize(
    ("zone", "until", "reachable"),
    [
        ("UTC", "2026-11-07T00:00:00Z", 6),
        ("UTC", "2026-11-07T00:00:00.000001Z", 7),
        ("Asia/Tokyo", "2026-11-07T00:00:00Z", 7),
        ("user", "2026-11-07T00:00:00Z", 8),
    ],
)
def test_a_streak_is_not_longer_than_its_goal_is_active(zone, until, reachable):
    window = {"active_from": "2026-11-01T00:00:00Z", "active_until": until}
    rule = "all([streak(e, grace=3, timezone={}) >= {}])"

    assert reasons(goal(rule=rule.format(zone, reachable), **window)) == []
    assert reasons(goal(rule=rule.format(zone, reachable + 1), **window)) == [
        (
            f"'g': rule.of[0].target: can never be reached: it is {reachable + 1}, but the goal is active on "
            f"{reachable} days only"
        )
    ]


def test_goals_that_are_never_active_close_to_each_other_are_not_asked_for_together():
    early = goal("early", active_until="2026-11-01T00:00:00Z")
    late = goal("late", active_from="2026-11-10T00:00:00Z")

    assert reasons(early, late, goal(rule="all([early, late])")) == []
    assert reasons(early, late, goal(rule="all([early, late], within=10d)")) == []
    assert reasons(early, late, goal(rule="any([early, late], within=7d)")) == []
    assert reasons(early, late, goal(rule="all([early, late], within=7d)")) == [
        (
            "'g': rule.within: can never hold: one part ends at 2026-11-01T00:00:00+00:00, another begins at "
            "2026-11-10T00:00:00+00:00, more than 7d apart"
        )
    ]


def test_daily_goals_may_be_prerequisites_and_parts():
    daily = {"id": "d", "type": "daily", "event_source": "e", "requirement": {"target": 1}}

    assert load(daily, goal("a", prerequisites=["d"]), goal("b", "at_least(1, [d, a])"))


def test_the_fault_of_a_nested_rule_shows_its_place_in_the_expression():
    with pytest.raises(InvalidChallengesError) as caught:
        load(goal(rule="any([count(x) >= 1, count(e last 1s) >= 9])"))

    assert caught.value.faults[0].split("\n")[1:] == [
        "    any([count(x) >= 1, count(e last 1s) >= 9])",
        "                                     ^ line 1, column 34",
    ]
