"""One table of cases for both engines: rules, events in their order of arrival, and what must come of them.

Events are written as (hours after noon of a Saturday, type, more), where more are fields of ``Event``.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from models.events import Event
from models.rules.calendar import microseconds
from models.rules.goals import Rulebook
from models.rules.operators import make_rule
from models.rules.rule import Condition
from tests.support.stack import goal

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOON = microseconds(datetime(2026, 10, 24, 12, tzinfo=UTC))
"""The Saturday before Europe's clocks go back; a week before America's do."""


class Case(NamedTuple):
    """A rulebook, what arrives, and the rows by (goal, period): progress, and the hour of completion or None."""

    name: str
    goals: tuple[Any, ...]
    arrivals: tuple[Any, ...]
    rows: dict[tuple[str, str], tuple[Any, float | None]]


def rulebook_of(case):
    """The goals of a case."""
    return Rulebook(case.goals)


def events_of(case):
    """The events of a case, in their order of arrival."""
    return [
        Event(
            **{
                "event_id": f"e{number}",
                "event_type": kind,
                "tenant_id": "t",
                "user_id": "u",
                "occurred_at": NOON + int(hours * HOUR),
                "accepted_at": NOON,
                **(more[0] if more else {}),
            }
        )
        for number, (hours, kind, *more) in enumerate(case.arrivals)
    ]


def hour_of(completed_at):
    """A completion in the notation of the table."""
    return (completed_at - NOON) / HOUR if completed_at else None


def _values(kind, *pairs):
    return tuple((hours, kind, {"value": value}) for hours, value in pairs)


def _payloads(kind, *pairs):
    return tuple((hours, kind, {"payload": payload.encode()}) for hours, payload in pairs)


def _one(name, rule, arrivals, progress, completed):
    return Case(name, (goal("g", **rule),), tuple(arrivals), {("g", ""): (progress, completed)})


_COURSE = Condition("payload.course", "==", "algebra")
_DAYS = tuple((24 * day, "e") for day in (0, 1, 2, 4, 5, 6))
_ABC = {"op": "sequence", "events": ("a", "b", "c"), "target": 3}
_PAIR = (goal("a", "count", "a"), goal("b", "count", "b", target=2))

CASES = (
    _one("a count", {"op": "count", "events": "e", "target": 2}, [(0, "e"), (1, "e"), (2, "e"), (3, "f")], 3, 1),
    _one("a count with a condition", {"op": "count", "events": "e", "where": (_COURSE,)},
         _payloads("e", (0, '{"course":"art"}'), (1, "{}"), (2, '{"course":"algebra"}'), (3, "[1]")), 1, 2),
    _one("a sum", {"op": "sum", "events": "e", "target": 10}, _values("e", (0, 4), (1, 6.5)), Decimal("10.5"), 1),
    _one("a sum of nothing said", {"op": "sum", "events": "e", "target": 10}, [(0, "e"), (1, "e")], 2, None),
    _one("a sum without losses", {"op": "sum", "events": "e", "target": 10}, _values("e", (0, 4), (1, -6), (2, 3)), 7, None),
    _one("a sum of increments", {"op": "sum", "events": "e", "target": 10},
         [(0, "e", {"value": 100, "increment": 3}), (1, "e", {"value": 100, "increment": 4})], 7, None),
    _one("a sum of a field", {"op": "sum", "events": "e", "target": 60, "field": "payload.minutes"},
         _payloads("e", (0, '{"minutes":45}'), (1, '{"minutes":"45"}'), (2, '{"minutes":15}')), 60, 2),
    _one("a newest value", {"op": "latest", "events": "e", "target": 10}, _values("e", (0, 4), (1, 12), (2, 7)), 7, 1),
    _one("a newest value that comes first", {"op": "latest", "events": "e", "target": 10}, _values("e", (5, 20), (0, 15)), 20, 0),
    _one("a best value", {"op": "max", "events": "e", "target": 90, "field": "payload.score"},
         _payloads("e", (3, '{"score":95}'), (1, '{"score":89.5}'), (2, '{"score":90}')), 95, 2),
    _one("a smallest value", {"op": "min", "events": "e", "target": 60}, _values("e", (0, 75), (1, 60), (2, 58)), 58, 1),
    _one("different values", {"op": "distinct", "events": "e", "target": 3, "field": "payload.city"},
         _payloads("e", (0, '{"city":"Rome"}'), (1, '{"city":"Rome"}'), (9, '{"city":"Oslo"}'), (4, '{"city":7}'), (5, '{"city":7.0}'),
                   (6, '{"city":null}'), (7, '{"city":true}')), 3, 7),
    _one("a streak that is broken", {"op": "streak", "events": "e", "target": 4, "unit": "day"}, _DAYS, 3, None),
    _one("a streak that survives a missed day", {"op": "streak", "events": "e", "target": 6, "unit": "day", "grace": 1}, _DAYS, 6, 144),
    _one("a streak that missed too much", {"op": "streak", "events": "e", "target": 4, "unit": "day", "grace": 1},
         [(24 * day, "e") for day in (0, 2, 4, 6)], 2, None),
    _one("two runs joined by a late day", {"op": "streak", "events": "e", "target": 7, "unit": "day"}, (*_DAYS, (72, "e")), 7, 72),
    _one("a streak of weeks", {"op": "streak", "events": "e", "target": 3, "unit": "week"},
         [(0, "e"), (48, "e"), (24 * 15, "e")], 3, 24 * 15),
    _one("a streak over a day of 25 hours", {"op": "streak", "events": "e", "target": 3, "unit": "day", "timezone": "Europe/Berlin"},
         [(9.9, "e"), (34.9, "e"), (35.1, "e")], 3, 35.1),
    _one("a streak of one who travels", {"op": "streak", "events": "e", "target": 3, "unit": "day", "timezone": "user"},
         [(0, "e", {"timezone": "Pacific/Auckland"}), (25, "e", {"timezone": "America/Los_Angeles"}), (37, "e")], 2, None),
    _one("days, in a row or not", {"op": "days", "events": "e", "target": 3, "unit": "day"}, _DAYS[:1] + _DAYS[3:5], 3, 120),
    _one("days with enough events", {"op": "days", "events": "e", "target": 2, "unit": "day", "min": 2},
         [(0, "e"), (1, "e"), (2, "e"), (24, "e"), (48, "e"), (30, "e")], 2, 30),
    _one("a day that a late event completes", {"op": "days", "events": "e", "target": 2, "unit": "day", "min": 2},
         [(0, "e"), (48, "e"), (49, "e"), (3, "e")], 2, 3),
    _one("weeks with events", {"op": "days", "events": "e", "target": 2, "unit": "week"}, [(0, "e"), (24, "e"), (48, "e")], 2, 48),
    _one("months with events", {"op": "days", "events": "e", "target": 2, "unit": "month"}, [(0, "e"), (24, "e"), (192, "e")], 2, 192),
    _one("days of one who travels", {"op": "days", "events": "e", "target": 2, "unit": "day", "timezone": "user"},
         [(0, "e", {"timezone": "Pacific/Auckland"}), (1, "e")], 2, 1),
    _one("steps in order", _ABC, [(0, "a"), (1, "b"), (2, "c")], 3, 2),
    _one("steps that arrive in disorder", _ABC, [(2, "c"), (0, "a"), (1, "b")], 3, 2),
    _one("steps in the wrong order", _ABC, [(0, "b"), (1, "a"), (2, "c")], 1, None),
    _one("steps at the same moment", _ABC, [(0, "a"), (0, "b"), (0, "c")], 3, 0),
    _one("one event that cannot be two steps", {"op": "sequence", "events": ("a", "a"), "target": 2}, [(0, "a"), (0, "a")], 1, None),
    _one("steps within a duration", {**_ABC, "within": DAY}, [(0, "a"), (20, "a"), (30, "b"), (40, "c"), (90, "c")], 3, 40),
    _one("steps that took too long", {**_ABC, "within": DAY}, [(0, "a"), (20, "b"), (30, "c")], 2, None),
    _one("a window that slides", {"op": "count", "events": "e", "target": 3, "last": DAY},
         [(0, "e"), (20, "e"), (30, "e"), (44, "e"), (99, "e")], 3, 44),
    _one("a window that never fills", {"op": "count", "events": "e", "target": 3, "last": DAY}, [(0, "e"), (25, "e"), (40, "e")], 2, None),
    Case("a day in the user's zone", (goal("g", "count", "e", per="day", timezone="user", stops_at_target=True),),
         ((0, "e", {"timezone": "Asia/Tokyo"}), (4, "e", {"timezone": "Asia/Tokyo"}), (5, "e")),
         {("g", "2026-10-24"): (1, 0), ("g", "2026-10-25"): (1, 4)}),
    Case("weeks and months", (goal("w", "count", "e", per="week", target=2), goal("m", "sum", "e", per="month", target=2)),
         ((0, "e"), (30, "e"), (60, "e"), (24 * 8, "e")),
         {("w", "2026-W43"): (2, 30), ("w", "2026-W44"): (2, 192), ("m", "2026-10"): (3, 30), ("m", "2026-11"): (1, None)}),
    Case("all of some goals", (*_PAIR, goal("g", "all", of=("a", "b"), target=2)), ((5, "b"), (7, "b"), (1, "a")),
         {("a", ""): (1, 1), ("b", ""): (2, 7), ("g", ""): (2, 1)}),
    Case("any of some goals", (*_PAIR, goal("g", "any", of=("a", "b"), target=1)), ((5, "b"),), {("b", ""): (1, None)}),
    Case("some of more", (goal("g", "at_least", of=tuple(make_rule(op="count", events=(kind,)) for kind in "abc"), target=2),),
         ((4, "c"), (2, "a")), {("g#3", ""): (1, 4), ("g#1", ""): (1, 2), ("g", ""): (2, 4)}),
    Case("parts within a duration", (*_PAIR, goal("g", "all", of=("a", "b"), target=2, within=DAY)), ((0, "b"), (40, "b"), (10, "a"), (60, "a")),
         {("a", ""): (2, 10), ("b", ""): (2, 40), ("g", ""): (2, 60)}),
    Case("parts too far apart", (*_PAIR, goal("g", "all", of=("a", "b"), target=2, within=DAY)), ((0, "b"), (40, "b"), (10, "a")),
         {("a", ""): (1, 10), ("b", ""): (2, 40), ("g", ""): (1, None)}),
    Case("a goal that waits for another", (goal("a", "max", "a", target=5), goal("g", "max", "e", prerequisites=("a",))),
         ((3, "e", {"value": 1}), (9, "a", {"value": 5})), {("a", ""): (5, 9), ("g", ""): (1, 9)}),
    Case("a goal whose turn has come already", (goal("a", "count", "a"), goal("g", "count", "e", per="day", prerequisites=("a",))),
         ((3, "a"), (1, "e"), (50, "e")),
         {("a", ""): (1, 3), ("g", "2026-10-24"): (1, 3), ("g", "2026-10-26"): (1, 50)}),
    Case("a goal that waits for any day of another", (goal("a", "count", "a", per="day"), goal("g", "max", "e", prerequisites=("a",))),
         ((3, "e", {"value": 1}), (50, "a"), (9, "a")),
         {("a", "2026-10-24"): (1, 9), ("a", "2026-10-26"): (1, 50), ("g", ""): (1, 9), ("g#lock", ""): (1, 9)}),
    Case("only users of a segment", (goal("g", "count", "e", segments={"plan": ("pro", "team")}),),
         ((0, "e"), (1, "e", {"attributes": b'{"plan":"free"}'}), (2, "e", {"attributes": b'{"plan":"team"}'})), {("g", ""): (1, 2)}),
)  # fmt: skip
