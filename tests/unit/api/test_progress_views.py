"""What a user is shown of goals: periods, locks, parts, secrets, segments and versions."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from api.progress.views import UserView, asks_attributes
from models.rules.calendar import microseconds
from models.rules.goals import Goal, Publication, Publications, Rulebook, only
from models.rules.operators import make_rule
from models.rules.rows import Row

NOW = microseconds(datetime(2026, 11, 21, 23, 30, tzinfo=UTC))


def goal(goal_id="g", rule=None, **more: Any) -> Goal:
    rule = rule or make_rule(op="count", events=("login",), target=3)
    return Goal(goal_id=goal_id, challenge_id="c", name=f"The {goal_id}", description="text", rule=rule, **more)


def row(goal_id="g", *state, period="", done=0, op="count", version=1) -> Row:
    return Row(goal_id, period, "c", op, version, 1, done, 1, 1, list(state))


def view(publications, *rows, attributes=None, reveal=False, versioned=True):
    shown = UserView(
        publications=publications,
        rows=rows,
        attributes=attributes or {},
        now=NOW,
        versioned=versioned,
        reveal=reveal,
    )
    return {one.goal_id: one for one in shown.goals()}


def of(*goals):
    return only(Rulebook(goals))


def test_a_goal_shows_its_text_its_rule_and_its_window():
    shown = view(of(goal(active_from=NOW, active_until=NOW + 1)), row("g", 2))["g"]
    assert (shown.name, shown.description, shown.rule) == ("The g", "text", "count(login) >= 3")
    assert (shown.progress, shown.target, shown.status, shown.rule_version) == (2, 3, "in_progress", 1)
    assert (shown.active_from, shown.active_until) == (
        datetime(2026, 11, 21, 23, 30, tzinfo=UTC),
        datetime(2026, 11, 21, 23, 30, 0, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("per", "zone", "period"),
    [
        ("day", "UTC", "2026-11-21"),
        ("day", "Europe/Berlin", "2026-11-22"),
        ("week", "UTC", "2026-W47"),
        ("month", "UTC", "2026-11"),
        ("day", "user", "2026-11-22"),
    ],
)
def test_the_current_period_is_that_of_the_goals_time_zone(per, zone, period):
    daily = goal(rule=make_rule(op="count", events=("login",), target=3, per=per, timezone=zone))
    rows = row("g", 2, period=period), row("g", 1, period="2026-11-19")
    shown = view(of(daily), *rows, attributes={"timezone": "Asia/Tokyo"})["g"]
    assert (shown.period, shown.progress) == (period, 2)


def test_without_an_attribute_the_users_own_time_zone_is_utc():
    daily = goal(rule=make_rule(op="count", events=("login",), per="day", timezone="user"))
    assert view(of(daily))["g"].period == "2026-11-21"
    assert view(of(daily), attributes={"timezone": "Mars/Olympus"})["g"].period == "2026-11-21"


def test_only_segments_and_periods_of_the_users_time_zone_ask_for_attributes():
    user_zone = make_rule(op="count", events=("login",), timezone="user")
    assert not asks_attributes([goal(), goal(rule=user_zone)])
    assert asks_attributes([goal(), goal(rule=replace(user_zone, per="day"))])
    assert asks_attributes([goal(segments={"plan": ("pro",)})])


def test_a_goal_is_locked_until_its_prerequisites_are_complete():
    first = goal("first", make_rule(op="count", events=("login",), per="day"))
    publications = of(first, goal(prerequisites=("first",)))
    assert view(publications, row("g", 5))["g"].locked
    assert view(publications, row("g", 5))["g"].prerequisites == ["first"]
    assert not view(publications, row("first", 1, period="2026-11-20", done=1))["g"].locked
    assert not view(publications, row("g#lock", 1, 1, op="all", done=1))["g"].locked
    assert not view(publications)["first"].locked


def test_a_composite_lists_its_parts_with_their_progress():
    inner = make_rule(op="any", of=("a", make_rule(op="count", events=("invited",), target=4)), target=1)
    shown = view(
        of(goal("a"), goal("g", make_rule(op="all", of=("a", inner), target=2))),
        row("a", 3, done=7),
        row("g", 1, 7, 0, op="all"),
        row("g#2#2", 2),
    )["g"]
    a, nested = shown.parts
    assert (a.goal_id, a.rule, a.progress, a.target, a.status) == ("a", None, 3, 3, "completed")
    assert (nested.goal_id, nested.rule, nested.status) == (None, "any([a, count(invited) >= 4])", "not_started")
    assert [(part.goal_id, part.rule, part.progress, part.status) for part in nested.parts] == [
        ("a", None, 3, "completed"),
        (None, "count(invited) >= 4", 2, "in_progress"),
    ]


def test_a_part_with_periods_stays_complete_when_its_row_is_gone():
    daily = goal("a", make_rule(op="count", events=("login",), per="day"))
    shown = view(of(daily, goal("g", make_rule(op="all", of=("a",)))), row("g", 1, 7, op="all", done=7))
    assert shown["a"].status == "not_started"
    assert shown["g"].parts[0].status == "completed"


def test_a_hidden_goal_is_neither_shown_nor_named_until_it_is_complete():
    publications = of(
        goal("h", hidden=True),
        goal("next", prerequisites=("h",)),
        goal("both", make_rule(op="all", of=("h", "next"), target=2)),
    )
    before = view(publications, row("h", 2))
    assert list(before) == ["next", "both"]
    assert (before["next"].locked, before["next"].prerequisites) == (True, [])
    assert before["both"].rule is None
    part = before["both"].parts[0]
    assert (part.goal_id, part.progress, part.target) == (None, None, None)
    for after in (view(publications, row("h", 3, done=1)), view(publications, row("h", 2), reveal=True)):
        assert list(after) == ["h", "next", "both"]
        assert after["next"].prerequisites == ["h"]
        assert after["both"].rule == "all([h, next])"
        assert after["both"].parts[0].goal_id == "h"


def test_a_secret_goal_tells_nothing_until_it_is_complete():
    secret = goal("s", make_rule(op="all", of=("a",)), secret=True, prerequisites=("a",))
    publications = of(goal("a"), secret, goal("both", make_rule(op="all", of=("s",))))
    before = view(publications, row("s", 0, 0, op="all"))
    told = before["s"].model_dump()
    assert (told["name"], told["status"], told["secret"]) == ("Secret goal", "in_progress", True)
    assert [told[name] for name in ("description", "rule", "progress", "target")] == [None] * 4
    assert (told["parts"], told["prerequisites"]) == ([], [])
    assert before["both"].parts[0].target is None
    done = row("s", 1, 1, op="all", done=1)
    for after in (view(publications, done), view(publications, reveal=True)):
        assert (after["s"].name, after["s"].target) == ("The s", 1)
        assert after["both"].parts[0].target == 1


def test_a_goal_for_others_is_left_out_as_long_as_there_is_no_progress():
    publications = of(goal(segments={"plan": ("pro", "team"), "seats": (5,)}))
    assert view(publications) == {}
    assert view(publications, attributes={"plan": "free", "seats": 5}) == {}
    assert view(publications, attributes={"plan": "pro", "seats": True}) == {}
    assert list(view(publications, attributes={"plan": "team", "seats": 5})) == ["g"]
    assert list(view(publications, row("g", 1))) == ["g"]


def test_without_a_value_there_is_no_best_time():
    fastest = goal(rule=make_rule(op="min", events=("race",), field="payload.seconds", target=60))
    assert view(of(fastest))["g"].progress is None
    assert view(of(fastest), row("g", 61.5, op="min"))["g"].progress == 61.5


def test_the_goals_are_those_of_the_publication_that_is_active():
    old, new = Rulebook((goal("a"),)), Rulebook((goal("b"),))
    publications = Publications((Publication(1, 0, old), Publication(2, NOW + 1, new)))
    assert list(view(publications)) == ["a"]
    publications = Publications((Publication(1, 0, old), Publication(2, NOW, new)))
    assert list(view(publications)) == ["b"]


@pytest.mark.parametrize(
    ("policy", "progress", "target", "status", "version"),
    [
        ("keep", 2, 5, "in_progress", 1),
        ("restart", 0, 5, "not_started", 2),
        ("grandfather", 2, 3, "in_progress", 1),
    ],
)
def test_progress_under_the_version_before_is_shown_by_the_policy(policy, progress, target, status, version):
    new = replace(goal(), rule=replace(goal().rule, target=5), version=2, on_change=policy)
    publications = Publications((Publication(1, 0, Rulebook((goal(),))), Publication(2, NOW, Rulebook((new,)))))
    shown = view(publications, row("g", 2))["g"]
    assert (shown.progress, shown.target, shown.status, shown.rule_version) == (progress, target, status, version)
    assert view(publications, row("g", 3, done=1))["g"].status == "completed"


def test_a_version_is_null_only_where_it_is_not_known():
    assert view(of(goal()), versioned=False)["g"].rule_version is None
    assert view(of(goal()), row("g", 1, version=4), versioned=False)["g"].rule_version == 4
