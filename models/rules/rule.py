"""A rule as a frozen value, and all that is asked of one, whichever operator it is of.

The challenges file is parsed into rules, and both engines read them. There is a class for each operator in
``operators/``; what an operator does not say otherwise is as it is here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from models.wire import Mode

if TYPE_CHECKING:
    from decimal import Decimal

    from models.events import Event
    from models.rules.fields import EventFields
    from models.rules.forms.values import Strict
    from models.rules.goals import Goal
    from models.rules.graph import Node

Period = Literal["day", "week", "month"]
Comparison = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
Scalar = str | int | float | bool | None

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


class Outcome(NamedTuple):
    """What a step did to a state."""

    reached_at: int
    """When (event time) the target was reached, 0 while it is not."""
    contributes: bool = True
    """Whether the event counts towards the target: a score below a ``max``'s does not."""


class Amount(NamedTuple):
    """What one step of an event moves a state by; what the two numbers mean is the operator's own."""

    amount: float
    low: int = 0


ONE = Amount(1)


class Facts(Protocol):
    """What a rule asks of its place in the dependency graph (``graph.py``)."""

    timed: bool
    """Whether the moment of completion must be known."""
    kept_times: int
    parts: tuple[str, ...]
    periodic_parts: frozenset[str]


class Step(NamedTuple):
    """One event's move on one node."""

    node: "Node"
    mode: Mode
    period: str
    amount: float
    low: int
    """The lower half of a ``sum``; else 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """An operator and what it works on. Durations are microseconds."""

    op: ClassVar[str]
    """The operator's name, in rules and in rows."""
    shape: ClassVar["type[Strict]"]
    """Its JSON form; its class' text and those of its keys are the JSON Schema's."""
    example: ClassVar[str]
    """An expression with it."""
    terminal: ClassVar[str] = "LEAF"
    """What of the expression grammar its word is: LEAF, SEQUENCE, GROUP or AT_LEAST."""
    comparison: ClassVar[str] = ">="
    """Between what is measured and the target."""
    is_composite: ClassVar[bool] = False
    """Whether it is over other rules and goals, not over events."""
    keeps_state: ClassVar[bool] = True
    """Whether a new version may go on from the state of the one before."""
    same_state: ClassVar[tuple[str, ...]] = ("per", "timezone")
    """What both versions must have in common for that."""
    is_exact: ClassVar[bool] = False
    """Whether the moment at which its target is reached is a function of the set of events, whatever their order."""
    values: ClassVar[Literal["", "growing", "gain"]] = ""
    """What the values of its events are in a load test."""
    numbers_of_lua: ClassVar[Mapping[str, Literal["a", "b"]]] = {}
    """What its Lua calls the two numbers ``Node.a`` and ``Node.b``: ``node[Streak.grace]``."""
    limits_of_lua: ClassVar[Mapping[str, int]] = {}
    """Numbers that its Lua must know: ``Streak.MAX_RUNS``."""

    events: tuple[str, ...] = ()
    """The event types: one, several in order for ``sequence``, none for a composite."""
    target: float = 1
    """The threshold. ``all``: the number of parts, ``any``: 1, ``at_least``: k, ``sequence``: the number of steps."""
    field: str | None = None
    """The number or value that it looks at, in the notation of ``Condition.field``; None: the event's own value."""
    where: tuple[Condition, ...] = ()
    per: Period | None = None
    """Each period has a row and a completion of its own."""
    unit: Period | None = None
    """What follows on each other, or is counted: days, weeks or months."""
    within: int | None = None
    """``sequence`` and composites: all must happen within this duration."""
    timezone: str = "UTC"
    """``UTC``, an IANA name, or ``user``: decides where periods begin."""
    of: "tuple[Rule | str, ...]" = ()
    """The parts of a composite: goal ids and rules."""

    def meaning(self) -> dict[str, Any]:
        """All that decides what the rule measures, in a form that JSON can hold; defaults are left out."""
        said: dict[str, Any] = {"op": self.op, "target": float(self.target)}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in said and value != item.default:
                said[item.name] = _plain(value)
        return said

    # In a challenges file

    @classmethod
    def target_of(cls, shape: Any) -> float:
        """The target that a checked JSON form stands for."""
        target: float = shape.target
        return target

    def options(self) -> dict[str, Any]:
        """The keys of its JSON form that only this operator has, with durations as texts; None: left out."""
        return {}

    def state_faults(self, reach: int) -> Iterator[tuple[str, str]]:
        """Why its state would grow without a useful bound: the key at fault, and the reason.

        ``reach``: in which time (µs) events may still come.
        """
        yield from ()

    def reach_faults(self, goal: "Goal") -> Iterator[tuple[str, str]]:
        """Why no events can reach its target: the key at fault, and the reason."""
        yield from ()

    def untimed(self) -> str | None:
        """Why the moment at which it completes is not known in time, where it is not."""
        return None if self.is_exact else f"the moment at which a {self.op} completes depends on the order of arrival"

    def can_keep(self, old: "Rule") -> bool:
        """Whether progress under an older rule means something under this one: the states are of one kind."""
        alike = self.op == old.op and all(getattr(self, name) == getattr(old, name) for name in self.same_state)
        return alike and self.keeps_state

    # An event becomes steps

    def amounts(self, event: "Event", fields: "EventFields", zone: str) -> Iterable[Amount]:
        """The steps that an event of its types makes, whose conditions are met."""
        return (ONE,)

    def steps_of(self, event_type: str) -> int:
        """How many steps at most."""
        return 1

    # A step moves a state

    def reducer(self, *, timed: bool) -> str:
        """The name of what moves a state in Lua. ``timed``: the moment of completion must be known."""
        return self.op

    def knows_time(self, *, timed: bool) -> bool:
        """Whether it knows when the target was reached whatever the order of arrival."""
        return self.is_exact

    def kept_times(self, lateness: int) -> int:
        """How many times or periods it must remember so that events that are so late (µs) find what they need."""
        return 0

    def first_state(self) -> list[Any]:
        """A state that no event has moved yet. A state begins with the progress it shows."""
        return [0]

    def advance(self, state: list[Any], step: Step, event: "Event") -> Outcome:
        """Change a state by one step; how it stays a function of the set of events is in docs/reference/rules.md."""
        raise NotImplementedError

    def migrated(self, state: list[Any], step: Step, event: "Event", outcome: Outcome) -> Outcome:
        """The outcome on a row under several versions, whose state may hold progress from another one."""
        return outcome

    @classmethod
    def progress(cls, state: list[Any]) -> "int | float | Decimal":
        """The number that a state shows: an int when it is whole."""
        value: float = state[0] if state else 0
        return int(value) if value == int(value) else value

    # What Lua and its cost need

    def numbers(self, node: Facts) -> tuple[float, ...]:
        """The target, and up to two numbers more."""
        return (self.target,)

    def weight(self, node: Facts) -> int:
        """The steps of work of one move: a ``count`` that moves by one is one."""
        return 1

    def state_size(self, node: Facts) -> int:
        """How many numbers a state may hold."""
        return 3

    # In a load test

    def sample_values(self) -> tuple[Scalar, ...]:
        """Values of its field around what it waits for."""
        return self.target - 1, self.target, self.target / 2, self.target + 1


def _plain(value: Any) -> Any:
    if isinstance(value, Rule):
        return value.meaning()
    if isinstance(value, Condition):
        return [value.field, value.cmp, _plain(value.value)]
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def leaves(rule: Rule) -> "list[Rule]":
    """The rules within a rule, itself included, that look at events."""
    if not rule.is_composite:
        return [rule]
    return [leaf for part in rule.of if isinstance(part, Rule) for leaf in leaves(part)]
