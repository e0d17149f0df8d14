"""Every example of a rule, in both its forms, on the running product: loaded, counted, completed, shown."""

import json
from datetime import UTC, datetime, time, timedelta
from itertools import count
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.acceptance.product import query
from tests.servers import wait_until

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


class Product:
    """A run of the product, asked over HTTP."""

    def __init__(self, run: Any) -> None:
        addresses = json.loads(run.run("urls", "--json").stdout)
        self.http, self.database = addresses["http"], addresses["database_url"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.http}{path}", content, {"Content-Type": "application/json"}, method=method)  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - our own http URL
            return json.load(answer)

    def goals(self, user: str = "ada") -> dict[str, Any]:
        """What the API shows of a user, by goal."""
        return {
            goal["goal_id"]: goal for goal in self.ask("GET", f"/v1/users/{user}/progress?tenant_id=default")["goals"]
        }

    def shown(self) -> dict[str, tuple[Any, str]]:
        """Progress and status of the examples in both forms; the week may be another one by now."""
        goals = self.goals()
        return {
            goal_id: (goals[goal_id]["progress"], goals[goal_id]["status"])
            for goal_id in goals
            if goal_id.endswith(("-json", "-text")) and not goal_id.startswith("weekly-")
        }

    def stored(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """The user's rows in PostgreSQL, by goal and period."""
        rows = query(
            self.database,
            "SELECT goal_id, period, progress::float, status, completed_at, rule_version FROM user_goal_progress "
            "WHERE user_id = 'ada' AND NOT is_part",
        )
        return {tuple(row[:2]): tuple(row[2:]) for row in rows}


def both_forms(values: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}-{form}": value for name, value in values.items() for form in ("json", "text")}


def period_of(goal_id: str) -> str:
    week = noon(1).isocalendar()
    return f"{week.year}-W{week.week:02d}" if goal_id.startswith("weekly-") else ""


@pytest.mark.timeout(300)
def test_every_example_counts_and_completes_in_both_forms_through_the_running_product(up, tmp_path):
    file = tmp_path / "challenges.json"
    file.write_text(json.dumps({"challenges": [{"id": "examples", "goals": GOALS}]}))
    run = up(CHALLENGES_FILE=str(file), MAX_LATENESS="15d")
    run.ready()
    product = Product(run)
    product.ask("PUT", "/v1/users/ada/attributes", {"plan": "pro", "timezone": "Pacific/Kiritimati"})

    # One event short of everything.
    product.ask("POST", "/v1/events", almost())
    waiting = {name: (progress, "in_progress") for name, progress in BEFORE.items() if name != "weekly"}
    expected = both_forms(waiting | {"either": (0, "not_started")})
    wait_until(lambda: product.shown() == expected, message=lambda: f"{product.shown()}\n{expected}")
    goals = product.goals()
    assert "hidden" not in goals
    assert (goals["secret"]["name"], goals["secret"]["progress"], goals["secret"]["rule"]) == (
        "Secret goal",
        None,
        None,
    )
    assert (goals["locked"]["progress"], goals["locked"]["status"], goals["locked"]["locked"]) == (
        1,
        "in_progress",
        True,
    )
    assert (goals["for-pros"]["progress"], goals["for-pros"]["status"]) == (1, "completed")
    wait_until(lambda: product.goals("bob")["goal-a"]["status"] == "completed")
    assert "for-pros" not in product.goals("bob")

    # The last event of each.
    product.ask("POST", "/v1/events", rest())
    expected = both_forms({name: (progress, "completed") for name, (progress, _) in AFTER.items() if name != "weekly"})
    wait_until(lambda: product.shown() == expected, message=lambda: f"{product.shown()}\n{expected}")
    goals = product.goals()
    assert (goals["locked"]["status"], goals["locked"]["locked"]) == ("completed", False)
    assert goals["hidden"]["status"] == "completed"
    assert (goals["secret"]["name"], goals["secret"]["progress"]) == ("The tenth", 10)

    # The same in PostgreSQL, under version 1, with the day of the user's own time zone.
    rows = {
        (goal_id, period_of(goal_id)): (progress, "completed", at, 1)
        for goal_id, (progress, at) in both_forms(AFTER).items()
    } | {
        ("goal-a", ""): (1, "completed", noon(4), 1),
        ("goal-b", ""): (1, "completed", noon(2), 1),
        ("onboarding", ""): (3, "completed", noon(3), 1),
        ("for-pros", ""): (1, "completed", noon(4), 1),
        ("locked", ""): (1, "completed", noon(1), 1),
        ("hidden", ""): (10, "completed", noon(1), 1),
        ("secret", ""): (10, "completed", noon(1), 1),
        ("own-day", noon(1).date().isoformat()): (1, "completed", noon(2), 1),
    }
    wait_until(lambda: product.stored() == rows, message=lambda: f"{product.stored()}\n{rows}")
    unlocked = query(product.database, "SELECT goal_id, period FROM unlocks WHERE user_id = 'ada'")
    assert {tuple(row) for row in unlocked} == set(rows)
    assert run.end() < 15
