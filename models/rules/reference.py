"""The reference engine: what a user's rows must be, computed in memory from the set of accepted events."""

from collections.abc import Iterable

from models.events import Event
from models.rules.goals import Rulebook
from models.rules.matching import steps_of
from models.rules.operators import advance, first_row
from models.rules.rows import Row

Rows = dict[tuple[str, str], Row]
"""One user's rows by (goal id, period)."""


def apply_all(rulebook: Rulebook, events: Iterable[Event]) -> Rows:
    """The rows of one user after these events; a repeated event id counts once."""
    rows: Rows = {}
    seen: set[str] = set()
    for stamp, event in enumerate(events, start=1):
        if event.event_id in seen:
            continue
        seen.add(event.event_id)
        apply_one(rulebook, rows, event, stamp=stamp)
    return rows


def apply_one(rulebook: Rulebook, rows: Rows, event: Event, *, stamp: int) -> None:
    """Change the rows by one event that was not seen before."""
    for step in steps_of(rulebook, event):
        key = (step.goal.goal_id, step.period)
        row = rows.get(key) or first_row(step, now=event.accepted_at)
        rows[key] = advance(row, step, event, stamp=stamp, now=event.accepted_at)
