"""Rules as text: both forms read back as the same rule."""

import json

import pytest
from hypothesis import given, settings

from models.rules.challenge_file.language.parser import parse_expression
from models.rules.challenge_file.rule_json import rule_of_json
from models.rules.challenge_file.rule_text import expression_of, json_of
from models.rules.forms.values import duration_text
from tests.support.rule_examples import RULES

FORMS = {
    "count(lesson.completed) >= 10": {"op": "count", "event": "lesson.completed", "target": 10},
    "count(lesson.completed where payload.course_id == 'course_2' per week) >= 10": {
        "op": "count",
        "event": "lesson.completed",
        "target": 10,
        "where": [{"field": "payload.course_id", "cmp": "==", "value": "course_2"}],
        "per": "week",
    },
    "count(login last 7d) >= 5": {"op": "count", "event": "login", "target": 5, "last": "7d"},
    "sum(workout.logged, field=payload.minutes) >= 600": {
        "op": "sum",
        "event": "workout.logged",
        "field": "payload.minutes",
        "target": 600,
    },
    "latest(statistic:level) >= 10": {"op": "latest", "event": "statistic:level", "target": 10},
    "max(quiz.finished, field=payload.score) >= 90": {
        "op": "max",
        "event": "quiz.finished",
        "field": "payload.score",
        "target": 90,
    },
    "min(race.finished, field=payload.seconds) <= 60": {
        "op": "min",
        "event": "race.finished",
        "field": "payload.seconds",
        "target": 60,
    },
    "distinct(place.visited, field=payload.city) >= 5": {
        "op": "distinct",
        "event": "place.visited",
        "field": "payload.city",
        "target": 5,
    },
    "streak(session.started, unit=day, grace=1) >= 7": {
        "op": "streak",
        "event": "session.started",
        "unit": "day",
        "target": 7,
        "grace": 1,
    },
    "sequence([profile.completed, tutorial.finished, first_project.created], within=7d)": {
        "op": "sequence",
        "events": ["profile.completed", "tutorial.finished", "first_project.created"],
        "within": "7d",
    },
    "all([goal-a, goal-b], within=7d)": {"op": "all", "of": ["goal-a", "goal-b"], "within": "7d"},
    "any([a, count(e) >= 1])": {"op": "any", "of": ["a", {"op": "count", "event": "e", "target": 1}]},
    "at_least(2, [a, b, c])": {"op": "at_least", "k": 2, "of": ["a", "b", "c"]},
    "count('a b' where source in ['x', 'it\\'s'] and value > 1.5 per day, timezone=Europe/Berlin) >= 1": {
        "op": "count",
        "event": "a b",
        "target": 1,
        "where": [
            {"field": "source", "cmp": "in", "value": ["x", "it's"]},
            {"field": "value", "cmp": ">", "value": 1.5},
        ],
        "per": "day",
        "timezone": "Europe/Berlin",
    },
}


@pytest.mark.parametrize(("expression", "form"), FORMS.items())
def test_both_forms_of_a_rule_are_one_rule_and_come_back_as_written(expression, form):
    rule = parse_expression(expression)

    assert rule == rule_of_json(form)
    assert expression_of(rule) == expression
    assert json_of(rule) == form
    assert next(iter(json_of(rule))) == "op"


@given(RULES)
@settings(max_examples=500, deadline=None)
def test_any_rule_reads_back_from_both_its_texts(rule):
    assert parse_expression(expression_of(rule)).meaning() == rule.meaning()
    assert rule_of_json(json.loads(json.dumps(json_of(rule)))).meaning() == rule.meaning()
    assert parse_expression(expression_of(rule)) == rule == rule_of_json(json_of(rule))


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(604_800_000_000, "7d"), (129_600_000_000, "36h"), (90_000_000, "90s"), (60_000_000, "1m"), (1_500, "1.500ms")],
)
def test_a_duration_is_written_in_the_largest_unit_that_holds_it(microseconds, text):
    assert duration_text(microseconds) == text
