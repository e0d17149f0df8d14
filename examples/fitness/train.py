"""A week of training: runs of the past days from a watch, and one workout that ends now.

Run it beside ``CHALLENGES_FILE=examples/fitness/challenges.json make up``.
"""

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

URL = os.environ.get("QUESTLINE_URL", "http://127.0.0.1:8000")
ATHLETE = "jo"
NOW = datetime.now(UTC).replace(microsecond=0)

RUNS = [(6, 10.5, 61), (5, 5.2, 24.5), (3, 12, 70), (1, 14.5, 88)]  # days ago, kilometres, minutes
EXPECTED = {
    "marathon": (42.2, "completed"),
    "three-in-four-days": (3, "completed"),
    "fast-five": (24.5, "completed"),
    "active-today": (35, "completed"),
    "all-rounder": (2, "completed"),
}


def call(method: str, path: str, body: Any = None) -> Any:
    """The answer of Questline, as JSON."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(URL + path, json.dumps(body).encode() if body else None, headers, method=method)
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def send_training() -> None:
    """Send the runs as the watch stored them, and the workout that has just ended."""
    runs = [
        {
            "event_id": f"run-{days_ago}",
            "event_type": "run.logged",
            "user_id": ATHLETE,
            "occurred_at": (NOW - timedelta(days=days_ago)).isoformat(),
            "payload": {"km": km, "minutes": minutes},
        }
        for days_ago, km, minutes in RUNS
    ]
    workout = {
        "event_id": f"workout-{NOW:%Y-%m-%d}",
        "event_type": "workout.logged",
        "user_id": ATHLETE,
        "payload": {"minutes": 35},
    }
    print(f"accepted {call('POST', '/v1/events', [*runs, workout])['accepted']} events")


def goals() -> dict[str, dict[str, Any]]:
    """The athlete's progress on the goals of this example, by goal."""
    shown = call("GET", f"/v1/users/{ATHLETE}/progress")["goals"]
    return {goal["goal_id"]: goal for goal in shown if goal["challenge_id"] == "couch-to-marathon"}


def standing() -> dict[str, tuple[float, str]]:
    """How far the athlete is on each goal."""
    return {name: (goal["progress"], goal["status"]) for name, goal in goals().items()}


def main() -> int:
    """Train, wait until the goals have moved, print them."""
    send_training()
    deadline = time.monotonic() + 30
    while standing() != EXPECTED and time.monotonic() < deadline:
        time.sleep(0.1)
    for goal in goals().values():
        print(f"{goal['name']:22} {goal['progress']:g} of {goal['target']:g}  {goal['status']}")
    return 0 if standing() == EXPECTED else 1


if __name__ == "__main__":
    sys.exit(main())
