"""A user's progress on one goal in one period, as Redis and PostgreSQL keep it."""

from decimal import Decimal
from typing import NamedTuple

from models.events import Event
from models.wire import Row as Row  # noqa: PLC0414 - the values of this module are made of it


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
