"""Every example of a rule in both its forms, the events that bring each to the edge, and those that complete it."""

from datetime import UTC, datetime, time, timedelta
from itertools import count
from typing import Any

FORMS: dict[str, tuple[Any, str]] = {
    "weekly": (
        {
            "op": "count",
            "event": "lesson.completed",
            "target": 10,
            "where": [{"field": "payload.course_id", "cmp": "==", "value": "course_2"}],
            "per": "week",
        },
        "count(lesson.completed where payload.course_id == 'course_2' per week) >= 10",
    ),
    "lessons": (
        {"op": "count", "event": "lesson.completed", "target": 10},
        "count(event=lesson.completed, >= 10)",
    ),
    "minutes": (
        {"op": "sum", "event": "workout.logged", "field": "payload.minutes", "target": 600},
        "sum(workout.logged, field=payload.minutes) >= 600",
    ),
    "score": (
        {"op": "max", "event": "quiz.finished", "field": "payload.score", "target": 90},
        "max(quiz.finished, field=payload.score) >= 90",
    ),
    "race": (
        {"op": "min", "event": "race.finished", "field": "payload.seconds", "target": 60},
        "min(race.finished, field=payload.seconds) <= 60",
    ),
    "cities": (
        {"op": "distinct", "event": "place.visited", "field": "payload.city", "target": 5},
        "distinct(place.visited, field=payload.city) >= 5",
    ),
    "streak": (
        {"op": "streak", "event": "session.started", "unit": "day", "target": 7, "grace": 1},
        "streak(session.started, unit=day, grace=1) >= 7",
    ),
    "setup": (
        {
            "op": "sequence",
            "events": ["profile.completed", "tutorial.finished", "first_project.created"],
            "within": "7d",
        },
        "sequence([profile.completed, tutorial.finished, first_project.created], within=7d)",
    ),
    "both": ({"op": "all", "of": ["goal-a", "goal-b"], "within": "7d"}, "all([goal-a, goal-b], within=7d)"),
    "either": ({"op": "any", "of": ["goal-b", "goal-c"]}, "any([goal-b, goal-c])"),
    "two-of": (
        {"op": "at_least", "k": 2, "of": ["goal-a", "goal-b", "goal-c"]},
        "at_least(2, [goal-a, goal-b, goal-c])",
    ),
    "team": (
        {"op": "all", "of": ["onboarding", {"op": "count", "event": "teammate.invited", "target": 1}], "within": "7d"},
        "all([onboarding, count(teammate.invited) >= 1], within=7d)",
    ),
    "level": ({"op": "latest", "event": "level.reached", "target": 10}, "latest(level.reached) >= 10"),
    "burst": (
        {"op": "count", "event": "workout.logged", "target": 3, "last": "2d"},
        "count(workout.logged last 2d) >= 3",
    ),
}
OTHERS: list[dict[str, Any]] = [
    {"id": "goal-a", "rule": "count(a.done) >= 1"},
    {"id": "goal-b", "rule": "count(b.done) >= 1"},
    {"id": "goal-c", "rule": "count(c.done) >= 1"},
    {"id": "onboarding", "rule": FORMS["setup"][1]},
    {"id": "for-pros", "rule": "count(a.done) >= 1", "segments": {"plan": ["pro", "team"]}},
    {"id": "locked", "rule": "count(a.done) >= 1", "prerequisites": ["lessons-json"]},
    {"id": "hidden", "rule": "count(lesson.completed) >= 10", "hidden": True},
    {"id": "secret", "rule": "count(lesson.completed) >= 10", "secret": True, "name": "The tenth"},
    {"id": "own-day", "rule": "count(b.done per day, timezone=user) >= 1"},
]
GOALS = [
    *({"id": f"{name}-json", "rule": form} for name, (form, _) in FORMS.items()),
    *({"id": f"{name}-text", "rule": text} for name, (_, text) in FORMS.items()),
    *OTHERS,
]
TODAY = datetime.now(UTC).date()
NUMBERS = count()


def noon(days_ago: int) -> datetime:
    return datetime.combine(TODAY - timedelta(days=days_ago), time(12), UTC)


def event(kind: str, at: datetime, *, user: str = "ada", value: float | None = None, **payload: Any) -> dict[str, Any]:
    said = {"event_id": f"e{next(NUMBERS)}", "event_type": kind, "user_id": user, "occurred_at": at.isoformat()}
    return said | ({"payload": payload} if payload else {}) | ({} if value is None else {"value": value})


def almost() -> list[dict[str, Any]]:
    """Events that leave every example short of its target."""
    return [
        *(event("lesson.completed", noon(1), course_id="course_2") for _ in range(9)),
        *(event("workout.logged", noon(ago), minutes=199.5) for ago in (4, 3)),
        event("quiz.finished", noon(4), score=89),
        event("race.finished", noon(4), seconds=60.5),
        *(event("place.visited", noon(4), city=city) for city in ("Oslo", "Rome", "Oslo", "Bern", "Lima")),
        *(event("session.started", noon(ago)) for ago in (9, 8, 7, 5, 4, 3)),
        event("profile.completed", noon(7)),
        event("tutorial.finished", noon(5)),
        event("teammate.invited", noon(5)),
        event("level.reached", noon(4), value=9),
        event("a.done", noon(4)),
        event("a.done", noon(4), user="bob"),
    ]


def rest() -> list[dict[str, Any]]:
    """The event that completes each example."""
    return [
        event("level.reached", noon(3), value=10),
        event("b.done", noon(2)),
        event("first_project.created", noon(3)),
        event("session.started", noon(2)),
        event("place.visited", noon(2), city="Kyiv"),
        event("race.finished", noon(2), seconds=60),
        event("quiz.finished", noon(2), score=90),
        event("workout.logged", noon(2) - timedelta(hours=1), minutes=201),
        event("lesson.completed", noon(1), course_id="course_2"),
    ]


BEFORE = {
    "weekly": 9, "lessons": 9, "minutes": 399, "score": 89, "race": 60.5, "cities": 4, "streak": 6, "setup": 2,
    "both": 1, "two-of": 1, "team": 1, "level": 9, "burst": 2,
}  # fmt: skip
"""``either`` has nothing yet."""
AFTER = {
    "weekly": (10, noon(1)),
    "lessons": (10, noon(1)),
    "minutes": (600, noon(2) - timedelta(hours=1)),
    "score": (90, noon(2)),
    "race": (60, noon(2)),
    "cities": (5, noon(2)),
    "streak": (7, noon(2)),
    "setup": (3, noon(3)),
    "both": (2, noon(2)),
    "either": (1, noon(2)),
    "two-of": (2, noon(2)),
    "team": (2, noon(3)),
    "level": (10, noon(3)),
    "burst": (3, noon(2) - timedelta(hours=1)),
}
"""Progress, and the time of the event that completed it."""
