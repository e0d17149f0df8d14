"""Goals, the rulebook of a challenges file, and publications with versions.

A parsed file (``models/rules/challenge_file/parser.py``) becomes frozen values that both engines work from.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import orjson

from models.rules.rule import Period, Rule, Scalar, leaves

Policy = Literal["keep", "restart", "grandfather"]
"""What a new version does with progress made under the one before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """One goal of a challenge and the rule that measures a user's progress on it."""

    goal_id: str
    challenge_id: str
    name: str
    description: str = ""
    rule: Rule
    reward: Mapping[str, Any] | None = None
    prerequisites: tuple[str, ...] = ()
    """Goals without which this one gathers progress but does not complete."""
    active_from: int | None = None
    """Microseconds; events before it do not count."""
    active_until: int | None = None
    """Microseconds; events at it and after it do not count."""
    segments: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    """Attributes and the values one of which the user must have for an event to count."""
    hidden: bool = False
    """Left out of answers until it is complete."""
    secret: bool = False
    """Shown without name, text and numbers until it is complete."""
    on_change: Policy = "keep"
    """The policy of the version that this goal becomes when its meaning has changed."""
    version: int = 1
    """The published version of the goal's meaning; see ``digest``."""

    @property
    def target(self) -> float:
        """The number that progress is shown against."""
        return self.rule.target

    @property
    def per(self) -> Period | None:
        """The period that has a row of its own."""
        return self.rule.per

    @property
    def event_types(self) -> frozenset[str]:
        """The event types that move the goal, those of its parts included; not those of goals it refers to."""
        return frozenset(event for leaf in leaves(self.rule) for event in leaf.events)

    def meaning(self) -> dict[str, Any]:
        """All that decides who completes the goal and when."""
        return {
            "challenge": self.challenge_id,
            "rule": self.rule.meaning(),
            "prerequisites": sorted(self.prerequisites),
            "active_from": self.active_from,
            "active_until": self.active_until,
            "segments": {name: list(values) for name, values in sorted(self.segments.items())},
        }

    @property
    def digest(self) -> str:
        """A fingerprint of the meaning: a new name, text, reward or look leaves it unchanged."""
        return sha256(orjson.dumps(self.meaning(), option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All goals of a challenges file, found by event type or by id in constant time."""

    goals: tuple[Goal, ...]
    by_event: Mapping[str, tuple[Goal, ...]] = field(init=False, repr=False, compare=False)
    by_id: Mapping[str, Goal] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_event: defaultdict[str, list[Goal]] = defaultdict(list)
        for goal in self.goals:
            for event in sorted(goal.event_types):
                by_event[event].append(goal)
        object.__setattr__(self, "by_event", {event: tuple(goals) for event, goals in by_event.items()})
        object.__setattr__(self, "by_id", {goal.goal_id: goal for goal in self.goals})

    def with_versions(self, versions: Mapping[str, int]) -> "Rulebook":
        """The same goals under their published versions, by goal id."""
        return Rulebook(tuple(replace(goal, version=versions[goal.goal_id]) for goal in self.goals))


@dataclass(frozen=True, slots=True)
class Publication:
    """A rulebook as it was published: its goals hold for events from ``active_from`` on."""

    revision: int
    """Counts up by one with each publication of an installation."""
    active_from: int
    """Microseconds; 0 for the first. Never before that of the publication before."""
    rulebook: Rulebook


class Unreadable(NamedTuple):
    """A publication that this release cannot read: which events fall under it is known all the same."""

    revision: int
    active_from: int
    active_until: int
    """Microseconds; from here on a later publication holds."""


@dataclass(frozen=True, slots=True)
class Publications:
    """The publications that events may still fall under, oldest first; at least one."""

    items: tuple[Publication, ...]
    unreadable: tuple[Unreadable, ...] = ()
    """Those that another release wrote: none of the others may stand in for them."""

    @property
    def newest(self) -> Publication:
        """The last one published that can be read, though it may not be active yet."""
        return self.items[-1]

    @property
    def known_revision(self) -> int:
        """The last one published, readable or not."""
        return max(self.newest.revision, *(item.revision for item in self.unreadable), 0)

    def unreadable_at(self, occurred_at: int) -> int | None:
        """The revision that an event of a time (microseconds) falls under and that cannot be read, if it is so."""
        found = (item.revision for item in self.unreadable if item.active_from <= occurred_at < item.active_until)
        return next(found, None)

    def index_at(self, occurred_at: int, revision: int | None = None) -> int:
        """The index of the publication active at a time (microseconds), among those up to a revision.

        What is older than the oldest known falls under that.
        """
        known = self.items
        if revision is not None and revision < known[-1].revision:
            known = tuple(item for item in known if item.revision <= revision) or known[:1]
        return max(bisect_right([item.active_from for item in known], occurred_at) - 1, 0)

    def at(self, occurred_at: int, revision: int | None = None) -> Publication:
        """The publication active at a time; see ``index_at``."""
        return self.items[self.index_at(occurred_at, revision)]


def only(rulebook: Rulebook) -> Publications:
    """A rulebook that was always valid and never changed."""
    return Publications((Publication(1, 0, rulebook),))
