"""An evening in the arena: five matches of one player, and the goals that they complete.

Run it beside ``CHALLENGES_FILE=examples/game/challenges.json make up``.
"""

import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any
from urllib.request import Request, urlopen

URL = os.environ.get("QUESTLINE_URL", "http://127.0.0.1:8000")
PLAYER = "nova"
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"

MATCHES = [
    {"mode": "casual", "map": "harbour", "result": "lost", "hits": 9, "deaths": 6, "experience": 90},
    {"mode": "ranked", "map": "harbour", "result": "won", "hits": 17, "deaths": 2, "experience": 310},
    {"mode": "ranked", "map": "glacier", "result": "lost", "hits": 12, "deaths": 5, "experience": 120},
    {"mode": "ranked", "map": "jungle", "result": "won", "hits": 23, "deaths": 0, "experience": 420},
    {"mode": "casual", "map": "glacier", "result": "won", "hits": 14, "deaths": 3, "experience": 260},
]
COMPLETED = {"first-win", "ranked-today", "tourist", "sharpshooter", "untouchable", "veteran"}


def call(method: str, path: str, body: Any = None) -> Any:
    """The answer of Questline, as JSON."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(URL + path, json.dumps(body).encode() if body else None, headers, method=method)
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def send_matches() -> None:
    """Send every match as one event. A retry would send the same ids, so nothing would count twice."""
    events = [
        {"event_id": f"{TODAY}-match-{number}", "event_type": "match.finished", "user_id": PLAYER, "payload": match}
        for number, match in enumerate(MATCHES, start=1)
    ]
    answer = call("POST", "/v1/events", events)
    print(f"accepted {answer['accepted']} matches, refused {len(answer['rejected'])}")


def goals() -> list[dict[str, Any]]:
    """The player's progress on the goals of this example."""
    shown: list[dict[str, Any]] = call("GET", f"/v1/users/{PLAYER}/progress")["goals"]
    return [goal for goal in shown if goal["challenge_id"] == "arena"]


def completed() -> set[str]:
    """The goals that are complete now."""
    return {goal["goal_id"] for goal in goals() if goal["status"] == "completed"}


def main() -> int:
    """Play, wait until the goals have moved, print them."""
    send_matches()
    deadline = time.monotonic() + 30
    while completed() != COMPLETED and time.monotonic() < deadline:
        time.sleep(0.1)
    for goal in goals():
        print(f"{goal['name']:20} {goal['progress']:>6g} of {goal['target']:<6g} {goal['status']}")
    return 0 if completed() == COMPLETED else 1


if __name__ == "__main__":
    sys.exit(main())
