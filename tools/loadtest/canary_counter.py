"""Canary counters: one ``count`` for each kind of event, to find double effects.

Many goals cannot tell: the newest value, the highest, and a goal that is complete stay as they are when an event is
applied again. These count on for ever, so that each event of a user is in the progress of one of them, once.
"""

from datetime import timedelta
from pathlib import Path

import orjson

from tasks.rules.publications import read_file
from tools.loadtest.event_kinds import kinds_of

CANARY_COUNTER = "canary-of-kind-"
"""What the ids of these goals, and of no others, start with."""
_NEVER = 10**15
"""A target beyond what any run sends, and still exact."""


def write_with_canary_counter(given: Path, to: Path) -> Path:
    """Write the challenges of a file with a canary counter of every kind of event that they wait for; returns ``to``.

    Raises:
        ConfigurationError, InvalidChallengesError: the given file cannot be read, or has faults.
    """
    # The bounds that MAX_LATENESS sets are for the product to check, which reads what is written here.
    read = read_file(given, timedelta(), setting="CHALLENGES_FILE")
    kinds = kinds_of(read.rulebook, platform_only=False)
    goals = [
        {"id": f"{CANARY_COUNTER}{number}", "rule": {"op": "count", "event": kind.event_type, "target": _NEVER}}
        for number, kind in enumerate(kinds)
    ]
    document = orjson.loads(read.content)
    document["challenges"].append({"id": "canary", "name": "Every event once", "goals": goals})
    to.write_bytes(orjson.dumps(document))
    return to


def is_canary_counter(goal_id: str) -> bool:
    """Whether a goal is one of these."""
    return goal_id.startswith(CANARY_COUNTER)
