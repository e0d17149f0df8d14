"""A challenges file with a goal of every operator, and a mixed load for it."""

import json

from models.rules.calendar import microseconds
from tasks.rules.publications import parse_stored
from tests.support.environment import database_settings
from tests.support.stack import NOON
from tools.loadtest.generator import Shape, make_plan


def _goal(goal_id, rule, **more):
    return {"id": goal_id, "name": goal_id, "rule": rule, **more}


def _count(event, target, **more):
    return {"op": "count", "event": event, "target": target, **more}


def challenges(lessons=5, **of_lessons):
    """The file; ``lessons`` is the target of the goal ``lessons``, and what else is named belongs to it."""
    course = [{"field": "payload.course", "cmp": "==", "value": "c2"}]
    minutes = {"op": "sum", "event": "workout", "field": "payload.minutes", "target": 120}
    goals = [
        _goal("lessons", _count("lesson", lessons), **of_lessons),
        _goal("course", _count("lesson", 2, where=course, per="week")),
        _goal("busy", _count("lesson", 3, last="6h")),
        _goal("minutes", minutes),
        _goal("monthly", minutes | {"per": "month", "timezone": "Europe/Berlin"}),
        _goal("level", {"op": "latest", "event": "statistic:level", "target": 10}),
        _goal("score", {"op": "max", "event": "quiz", "field": "payload.score", "target": 90}),
        _goal("fast", {"op": "min", "event": "race", "field": "payload.seconds", "target": 60}),
        _goal("cities", {"op": "distinct", "event": "visit", "field": "payload.city", "target": 3}),
        _goal("days", {"op": "streak", "event": "login", "unit": "day", "target": 3, "grace": 1}),
        _goal("start", {"op": "sequence", "events": ["visit", "workout", "lesson"], "within": "2d"}),
        _goal("all", {"op": "all", "of": ["cities", "minutes"]}),
        _goal("any", {"op": "any", "of": ["score", _count("login", 4)]}),
        _goal("some", {"op": "at_least", "k": 2, "of": ["lessons", "fast", "start"]}),
        _goal("soon", {"op": "all", "of": [_count("login", 2), _count("quiz", 2)], "within": "12h"}),
        _goal("locked", _count("race", 2), prerequisites=["score", "level"]),
        {"id": "daily", "name": "daily", "type": "daily", "event_source": "login", "requirement": {"target": 2}},
    ]
    return {"challenges": [{"id": "mixed", "name": "Mixed", "goals": goals}]}


def document(lessons=5, **of_lessons):
    """The same as bytes."""
    return json.dumps(challenges(lessons, **of_lessons)).encode()


RULES = parse_stored(document())


def plan_of(events=1_500, users=25, **shape):
    """A mixed load of the tenant ``t1``, its users ``lt-a-0`` and so on."""
    drawn = Shape(events=events, users=users, tenant_id="t1", duplicates=10, seed=3, **shape)
    return make_plan(RULES, drawn, run="a", now=microseconds(NOON))


def events_of(plan):
    """In the order of sending, as the receiver accepts them."""
    return [plan.event(index)._replace(accepted_at=microseconds(NOON)) for index in plan.order]


def post(stack, plan, *, batch=60):
    """Send a plan in its shuffled order, with its repeats."""
    events = events_of(plan)
    for at in range(0, len(events), batch):
        stack.post(*events[at : at + batch])
    stack.flusher.flush()


def use_database(monkeypatch, engine, folder):
    """Let commands find the test's database."""
    told = {**database_settings(engine.url), "QUESTLINE_DATA_DIR": str(folder)}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
