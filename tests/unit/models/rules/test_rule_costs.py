"""What an event costs at most, by the rules alone."""

import pytest

from models.rules.costs import Costs, above, event_costs
from models.rules.goals import Rulebook
from models.rules.matcher import always
from tests.support.stack import goal

HOUR_US = 3_600_000_000
WEEK_US = 168 * HOUR_US


def costs(*goals):
    return event_costs(always(Rulebook(goals)).graphs[0])


def steps(*goals, event="login"):
    return costs(*goals)[event].steps


BASE = steps(goal("g", "count", "login"))


def test_each_goal_of_an_event_type_costs_a_step_and_its_bytes():
    few, many = (costs(*(goal(f"g{n:04}", "count", "login") for n in range(number))) for number in (10, 5_000))
    assert many["login"].steps - few["login"].steps == 4_990
    assert many["login"].size > 400 * few["login"].size


def test_long_ids_cost_bytes():
    short, long = costs(goal("g", "count", "login")), costs(goal("g" * 256, "count", "login", challenge="c" * 256))
    assert long["login"].steps == short["login"].steps
    assert long["login"].size > short["login"].size + 1_000


@pytest.mark.parametrize(
    ("cheap", "dear"),
    [
        (goal("g", "count", "login"), goal("g", "count", "login", target=100, last=24 * HOUR_US)),
        (goal("g", "distinct", "login", target=3), goal("g", "distinct", "login", target=256)),
        (
            goal("g", "streak", "login", target=3, unit="day"),
            goal("g", "streak", "login", target=3, unit="day", grace=30),
        ),
        (
            goal("g", "sequence", ("login", "a"), target=2, within=WEEK_US),
            goal("g", "sequence", ("login", *"abcdefghijklmno"), target=16, within=WEEK_US),
        ),
        (
            goal("g", "sequence", ("login", "a", "b"), target=3, within=WEEK_US),
            goal("g", "sequence", ("login", "login", "login"), target=3, within=WEEK_US),
        ),
    ],
    ids=["last", "distinct", "streak", "sequence", "repeated steps"],
)
def test_operators_cost_what_their_states_may_hold(cheap, dear):
    assert steps(dear) > steps(cheap) >= BASE


def test_what_hangs_on_a_goal_costs_although_no_event_names_it():
    base = goal("base", "count", "login")
    badges = [goal(f"badge{n}", "all", of=("base",)) for n in range(100)]
    waiting = [goal(f"waiting{n}", "count", "other", prerequisites=("base",)) for n in range(100)]
    assert steps(base, *badges) > BASE + 100
    assert steps(base, *waiting) > BASE + 100
    chain = [goal("c0", "all", of=("base",)), *(goal(f"c{n}", "all", of=(f"c{n - 1}",)) for n in range(1, 50))]
    assert steps(base, *chain) > BASE + 49


def test_a_composite_is_counted_once_for_each_of_its_parts_and_not_for_each_way_to_it():
    parts = [goal(f"p{n}", "count", "login") for n in range(4)]
    levels = [
        goal(f"{level}{n}", "any", of=tuple(f"{below}{m}" for m in range(4)))
        for below, level in ("pa", "ab", "bc", "cd", "de")
        for n in range(4)
    ]
    graph = always(Rulebook((*parts, *levels))).graphs[0]
    moved = above(graph.by_event["login"])
    assert set(moved.values()) == {4}
    assert len(moved) == 20


def test_prerequisites_cost_those_who_ask_for_them():
    asked = [goal(f"a{n}", "count", "other") for n in range(200)]
    waiting = goal("g", "count", "login", prerequisites=tuple(one.goal_id for one in asked))
    assert steps(*asked, waiting) > BASE + 40


def test_the_dearest_event_type_comes_first():
    found = costs(goal("a", "count", "few"), *(goal(f"g{n}", "count", "many") for n in range(3)))
    assert list(found) == ["many", "few"]


def test_an_event_that_moves_nothing_costs_next_to_nothing():
    planned = Costs(always(Rulebook((goal("g", "count", "login"),))).graphs[0])
    assert planned.planned("login", []) == (1, 0)
