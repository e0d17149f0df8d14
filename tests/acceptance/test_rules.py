"""Every example of a rule, in both its forms, on the running product: loaded, counted, completed, shown."""

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.acceptance.examples import AFTER, BEFORE, GOALS, almost, noon, rest
from tests.acceptance.product import query
from tests.support.servers import wait_until


class Product:
    """A run of the product, asked over HTTP."""

    def __init__(self, run: Any) -> None:
        addresses = json.loads(run.run("urls", "--json", "--show-passwords").stdout)
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
def counts_what_is_short_of_its_target(product):
    """One event short of everything."""
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


def completes_with_the_last_event(product):
    """The last event of each."""
    product.ask("POST", "/v1/events", rest())
    expected = both_forms({name: (progress, "completed") for name, (progress, _) in AFTER.items() if name != "weekly"})
    wait_until(lambda: product.shown() == expected, message=lambda: f"{product.shown()}\n{expected}")
    goals = product.goals()
    assert (goals["locked"]["status"], goals["locked"]["locked"]) == ("completed", False)
    assert goals["hidden"]["status"] == "completed"
    assert (goals["secret"]["name"], goals["secret"]["progress"]) == ("The tenth", 10)


def has_the_same_in_postgresql(product):
    """Under version 1, with the day of the user's own time zone."""
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


def test_every_example_counts_and_completes_in_both_forms_through_the_running_product(up, tmp_path):
    file = tmp_path / "challenges.json"
    file.write_text(json.dumps({"challenges": [{"id": "examples", "goals": GOALS}]}))
    run = up(CHALLENGES_FILE=str(file), MAX_LATENESS="15d")
    run.ready()
    product = Product(run)
    product.ask("PUT", "/v1/users/ada/attributes", {"plan": "pro", "timezone": "Pacific/Kiritimati"})
    counts_what_is_short_of_its_target(product)
    completes_with_the_last_event(product)
    has_the_same_in_postgresql(product)
    assert run.end() < 15
