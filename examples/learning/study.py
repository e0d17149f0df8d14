"""A week of lessons in Los Angeles, sent late, in the wrong order and partly twice.

Run it beside ``CHALLENGES_FILE=examples/learning/challenges.json make up``.
"""

import json
import os
import sys
import time
from datetime import datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

URL = os.environ.get("QUESTLINE_URL", "http://127.0.0.1:8000")
LEARNER = "rosa"
ZONE = "America/Los_Angeles"
NINE_IN_THE_EVENING = datetime.now(ZoneInfo(ZONE)).replace(hour=21, minute=0, second=0, microsecond=0)

# days ago; three days ago she had no time, which the streak forgives
LESSONS = [6, 5, 4, 2, 1]
QUIZZES = [(4, 72, False), (2, 95, True), (1, 91, False)]  # days ago, score, whether it was a retake
EXPECTED = {"five-days": (5, "completed"), "six-lessons": (5, "in_progress"), "ninety-percent": (91, "completed")}


def call(method: str, path: str, body: Any = None) -> Any:
    """The answer of Questline, as JSON."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(URL + path, json.dumps(body).encode() if body else None, headers, method=method)
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def event(kind: str, days_ago: int, payload: dict[str, Any]) -> dict[str, Any]:
    """One event of the learner, at nine in the evening by her own clock: in UTC that is the next day already."""
    return {
        "event_id": f"{kind}-{days_ago}",
        "event_type": kind,
        "user_id": LEARNER,
        "occurred_at": (NINE_IN_THE_EVENING - timedelta(days=days_ago)).isoformat(),
        "payload": payload,
    }


def send_week() -> None:
    """Send the newest first, and everything twice, as a phone may do that was offline."""
    call("PUT", f"/v1/users/{LEARNER}/attributes", {"timezone": ZONE})
    events = [event("lesson.completed", day, {"course": "spanish"}) for day in LESSONS]
    events += [event("quiz.finished", day, {"score": score, "retake": retake}) for day, score, retake in QUIZZES]
    for _ in range(2):
        print(f"accepted {call('POST', '/v1/events', list(reversed(events)))['accepted']} events")


def goals() -> dict[str, dict[str, Any]]:
    """The learner's progress on the goals of this example, by goal."""
    shown = call("GET", f"/v1/users/{LEARNER}/progress")["goals"]
    return {goal["goal_id"]: goal for goal in shown if goal["challenge_id"] == "spanish"}


def standing() -> dict[str, tuple[float, str]]:
    """How far the learner is on each goal."""
    return {name: (goal["progress"], goal["status"]) for name, goal in goals().items()}


def main() -> int:
    """Study, wait until the goals have moved, print them."""
    send_week()
    deadline = time.monotonic() + 30
    while standing() != EXPECTED and time.monotonic() < deadline:
        time.sleep(0.1)
    for goal in goals().values():
        print(f"{goal['name']:20} {goal['progress']:g} of {goal['target']:g}  {goal['status']}")
    return 0 if standing() == EXPECTED else 1


if __name__ == "__main__":
    sys.exit(main())
