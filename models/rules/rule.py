"""A rule as frozen values, for the challenges file and both engines.

Made by the parsers of ``challenge_file/``; both engines read them through ``graph.py``.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal

Operator = Literal["count", "sum", "latest", "max", "min", "distinct", "streak", "sequence", "all", "any", "at_least"]
Period = Literal["day", "week", "month"]
Comparison = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
Scalar = str | int | float | bool | None

COMPOSITES = frozenset({"all", "any", "at_least"})
"""The operators over other rules and goals."""
USER_ZONE = "user"
"""The time zone that each event, or else its user's stored attribute, names."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What an event must say to count: ``payload.course_id == 'course_2'``."""

    field: str
    """``value``, ``increment``, ``source``, ``event_id``, or a path into the payload such as ``payload.course.id``."""
    cmp: Comparison
    value: Scalar | tuple[Scalar, ...]
    """Several with ``in`` and ``not in``, else one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One operator and what it works on. Durations are microseconds."""

    op: Operator
    events: tuple[str, ...] = ()
    """The event types: one, several in order for ``sequence``, none for a composite."""
    target: float = 1
    """The threshold. ``all``: the number of parts, ``any``: 1, ``at_least``: k, ``sequence``: the number of steps."""
    field: str | None = None
    """What ``sum``, ``latest``, ``max``, ``min`` and ``distinct`` look at, in the notation of ``Condition.field``.
    Without it: the event's value; for ``sum`` its increment, else its value, else 1."""
    where: tuple[Condition, ...] = ()
    per: Period | None = None
    """Each period has a row and a completion of its own."""
    unit: Period | None = None
    """``streak``: what must follow on each other; ``day`` or ``week``."""
    grace: int = 0
    """``streak``: how many missed periods, in all, it survives. They protect it but do not count."""
    last: int | None = None
    """``count``: only events of a window this long count together, wherever it lies."""
    within: int | None = None
    """``sequence`` and composites: all must happen within this duration."""
    timezone: str = "UTC"
    """``UTC``, an IANA name, or ``user``: decides where periods begin."""
    of: "tuple[Rule | str, ...]" = ()
    """The parts of a composite: goal ids and rules."""
    stops_at_target: bool = False
    """``count``: shows no more than the target. A second login today is no change."""

    @property
    def repeats_events(self) -> bool:
        """Whether a ``sequence`` waits for one type of event twice: then its steps need times of their own."""
        return len(set(self.events)) < len(self.events)

    def meaning(self) -> dict[str, Any]:
        """All that decides what the rule measures, in a form that JSON can hold; defaults are left out."""
        said: dict[str, Any] = {"op": self.op, "target": float(self.target)}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in said and value != item.default:
                said[item.name] = _plain(value)
        return said


def _plain(value: Any) -> Any:
    if isinstance(value, Rule):
        return value.meaning()
    if isinstance(value, Condition):
        return [value.field, value.cmp, _plain(value.value)]
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def leaves(rule: Rule) -> "list[Rule]":
    """The rules within a rule, itself included, that look at events."""
    if rule.op not in COMPOSITES:
        return [rule]
    return [leaf for part in rule.of if isinstance(part, Rule) for leaf in leaves(part)]
