"""A user's progress on one goal in one period: the row that Redis packs, PostgreSQL stores and the API shows."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from models.events import Event
from models.rules.rule import Operator


class Row(NamedTuple):
    """Progress with the operator state it is computed from. Times are microseconds since the epoch.

    Redis holds it as a msgpack array in this order, so a new field goes to the end.
    """

    goal_id: str
    period: str
    """The period's key, such as ``2026-11-21``, ``2026-W47`` or ``2026-11``; empty for a goal without periods."""
    challenge_id: str
    operator: Operator
    rule_version: int
    stamp: int
    """The shard's change counter when the row last changed (promise P5)."""
    completed_at: int
    """Event time of the event that completed the goal; 0 while it is not complete."""
    created_at: int
    updated_at: int
    state: list[Any]
    """What the operator remembers; see ``models/rules/operators.py``."""
    reached_at: int = 0
    """When (event time) the rule's own condition was met; ``completed_at`` follows once prerequisites are complete."""
    slots: Sequence[Any] = ()
    """States under other versions of the goal, while late events may move them: see ``slots.py``."""
    part: bool = False
    """Whether it belongs to a part of a goal, or to its prerequisites, rather than to a goal; see ``nodes.py``."""


class Unlock(NamedTuple):
    """A goal completed, and the event whose arrival completed it."""

    event: Event
    goal_id: str
    period: str
    challenge_id: str
    rule_version: int
    completed_at: int
    """Event time, microseconds since the epoch."""


class Evaluation(NamedTuple):
    """What an event meant to a goal: how the goal stood before and after, and what that is called."""

    event: Event
    goal_id: str
    period: str
    challenge_id: str
    rule_version: int
    status_before: str
    """``not_started``, ``in_progress`` or ``completed``."""
    status: str
    progress_before: float | Decimal
    progress_after: float | Decimal
    decision: str
    """``started``, ``advanced``, ``unchanged``, ``reached`` (prerequisites are missing) or ``completed``."""
    evaluated_at: int
    """When the event was applied, microseconds since the epoch."""


class Snapshot(NamedTuple):
    """What PostgreSQL knows of a user: all that the hot path needs to go on from there."""

    tenant_id: str
    user_id: str
    rows: list[Row]
    hashes: list[str]
    """Identity hashes of the events of the last dedup window."""
