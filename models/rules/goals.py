"""Goals and the rulebook that finds them: what a challenges file says, as frozen values.

In comes a parsed file (``models/rules/challenges.py``); out go goals by event type, in one dictionary lookup.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal

import orjson

Operator = Literal["latest", "sum", "count"]
Period = Literal["day"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """One goal of a challenge and the operator that measures a user's progress on it."""

    goal_id: str
    challenge_id: str
    name: str
    description: str = ""
    operator: Operator
    event_source: str
    """The event type that moves the goal."""
    target: float
    per: Period | None = None
    """With ``day``, each UTC day has a row and a completion of its own."""
    stops_at_target: bool = False
    """A ``count`` that has reached its target stays there: a second login today is no change."""
    reward: Mapping[str, Any] | None = None
    prerequisites: tuple[str, ...] = ()
    version: int = 1
    """The published version of the goal's meaning; see ``digest``."""

    @property
    def digest(self) -> str:
        """A fingerprint of what the goal means: a new name, text or reward leaves it unchanged."""
        meaning = {
            "operator": self.operator,
            "event": self.event_source,
            "target": float(self.target),
            "per": self.per,
            "stops_at_target": self.stops_at_target,
            "challenge": self.challenge_id,
        }
        return sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All active goals, found by event type or by id in constant time."""

    goals: tuple[Goal, ...]
    by_event: Mapping[str, tuple[Goal, ...]] = field(init=False, repr=False)
    by_id: Mapping[str, Goal] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_event: defaultdict[str, list[Goal]] = defaultdict(list)
        for goal in self.goals:
            by_event[goal.event_source].append(goal)
        object.__setattr__(self, "by_event", {event: tuple(goals) for event, goals in by_event.items()})
        object.__setattr__(self, "by_id", {goal.goal_id: goal for goal in self.goals})

    def with_versions(self, versions: Mapping[str, int]) -> "Rulebook":
        """The same goals under their published versions, by goal id."""
        return Rulebook(tuple(replace(goal, version=versions[goal.goal_id]) for goal in self.goals))
