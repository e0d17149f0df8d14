"""Two accounts in their first week: one finds its way in two days, the other takes five.

Run it beside ``CHALLENGES_FILE=examples/onboarding/challenges.json make up``.
"""

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

URL = os.environ.get("QUESTLINE_URL", "http://127.0.0.1:8000")
FIRST_DAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=6)

# account, day, what happened, payload
STORY: list[tuple[str, int, str, dict[str, str]]] = [
    ("acme", 0, "profile.completed", {}),
    ("acme", 1, "project.created", {"project": "website"}),
    ("acme", 1, "teammate.invited", {"email": "lin@acme.example"}),
    ("acme", 2, "teammate.invited", {"email": "sam@acme.example"}),
    ("acme", 2, "teammate.invited", {"email": "lin@acme.example"}),  # the same person once more
    ("acme", 3, "teammate.invited", {"email": "kim@acme.example"}),
    ("acme", 3, "integration.connected", {"integration": "calendar"}),
    ("solo", 0, "profile.completed", {}),
    ("solo", 2, "project.created", {"project": "diary"}),
    ("solo", 5, "teammate.invited", {"email": "friend@solo.example"}),
]
EXPECTED = {
    "acme": {"set-up": "completed", "team-of-three": "completed", "activated": "completed", "plugged-in": "completed"},
    "solo": {"set-up": "in_progress", "team-of-three": "in_progress", "activated": "not_started"},
}


def call(method: str, path: str, body: Any = None) -> Any:
    """The answer of Questline, as JSON."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(URL + path, json.dumps(body).encode() if body else None, headers, method=method)
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def send_story() -> None:
    """Say which plan each account has, then send what happened, with the times at which it happened."""
    call("PUT", "/v1/users/acme/attributes", {"plan": "team"})
    call("PUT", "/v1/users/solo/attributes", {"plan": "free"})
    events = [
        {
            "event_id": f"onboarding-{number}",
            "event_type": what,
            "user_id": account,
            "occurred_at": (FIRST_DAY + timedelta(days=day, minutes=number)).isoformat(),
            "payload": payload,
        }
        for number, (account, day, what, payload) in enumerate(STORY)
    ]
    print(f"accepted {call('POST', '/v1/events', events)['accepted']} of {len(events)} events")


def goals(account: str) -> dict[str, dict[str, Any]]:
    """An account's progress on the goals of this example, by goal."""
    shown = call("GET", f"/v1/users/{account}/progress")["goals"]
    return {goal["goal_id"]: goal for goal in shown if goal["challenge_id"] == "first-week"}


def statuses() -> dict[str, dict[str, str]]:
    """How both accounts stand."""
    return {account: {name: goal["status"] for name, goal in goals(account).items()} for account in EXPECTED}


def main() -> int:
    """Tell the story, wait until the goals have moved, print them."""
    send_story()
    deadline = time.monotonic() + 30
    while statuses() != EXPECTED and time.monotonic() < deadline:
        time.sleep(0.1)
    for account in EXPECTED:
        for goal in goals(account).values():
            print(f"{account:6} {goal['name']:12} {goal['progress']:g} of {goal['target']:g}  {goal['status']}")
    return 0 if statuses() == EXPECTED else 1


if __name__ == "__main__":
    sys.exit(main())
