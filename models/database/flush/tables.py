"""How each layer of PostgreSQL is written: its statement, the columns it takes, and what becomes of a refused item.

The layers are progress, events, unlocks and evaluations. Writing the same items again changes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgpack
import orjson
from sqlalchemy import Connection

from models.database.arrays import array_literal
from models.database.connection import statement
from models.database.dead_letters.writer import DeadLetter
from models.database.flush.items import EventRow, Number, ProgressRow
from models.dead_letter_reasons import Reason
from models.events import Event
from models.rules.operators import progress_of
from models.rules.rows import Evaluation, Unlock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Layer(Generic[T]):
    """One table's way in."""

    statement: str
    columns: tuple[str, ...]
    values: Callable[[T], Sequence[Any]]
    """An item's columns, in their order."""
    key: Callable[[T], tuple[Any, ...]]
    """What items are sorted by, so that two flushers lock rows in the same order."""
    bury: Callable[[T, str], DeadLetter]
    """The dead letter of an item that PostgreSQL refused, with its words."""

    def write(self, connection: Connection, items: Sequence[T]) -> None:
        """Write items by one statement, each column as one array."""
        arrays = [array_literal(column) for column in zip(*map(self.values, items), strict=True)]
        connection.exec_driver_sql(statement(self.statement), dict(zip(self.columns, arrays, strict=True)))


def _progress_values(item: ProgressRow) -> Sequence[Any]:
    row = item.row
    return (
        *(item.tenant_id, item.user_id, row.goal_id, row.period, row.challenge_id, _number(progress_of(row))),
        *(row.completed_at or None, row.rule_version, row.operator, orjson.dumps(row.state).decode()),
        *(row.stamp, row.created_at, row.updated_at, row.reached_at or None, orjson.dumps(row.slots).decode()),
        row.part,
    )


def _event_values(item: EventRow) -> Sequence[Any]:
    event = item.event
    return (
        *(event.tenant_id, event.user_id, event.event_id, event.occurred_at, event.event_type, event.source),
        *(event.value, event.increment, event.payload.decode() or None, event.accepted_at),
        *(item.applied_at, item.shard, item.stamp, event.timezone, event.attributes.decode() or None),
        item.revision or None,
    )


def _unlock_values(item: Unlock) -> Sequence[Any]:
    event = item.event
    return (
        *(event.tenant_id, event.user_id, item.goal_id, item.period, item.challenge_id, item.rule_version),
        *(event.event_id, item.completed_at, event.event_type, event.source, event.occurred_at),
    )


def _evaluation_values(item: Evaluation) -> Sequence[Any]:
    event = item.event
    return (
        *(event.tenant_id, event.user_id, event.event_id, item.goal_id, item.period, item.evaluated_at),
        *(event.event_type, event.source, event.occurred_at, item.challenge_id, item.rule_version),
        *(_number(item.progress_before), _number(item.progress_after)),
        *(item.status_before, item.status, item.decision),
    )


def _number(value: Number) -> str | None:
    """A number as PostgreSQL's ``numeric`` reads it: exactly, and without ``.0``."""
    if value is None:
        return None
    return str(int(value)) if value == int(value) else str(value)


def _bury_progress(item: ProgressRow, why: str) -> DeadLetter:
    raw = msgpack.packb(item, default=str)
    return DeadLetter("row", Reason.REFUSED_BY_POSTGRESQL, why, raw, [], item.tenant_id, item.user_id)


def _bury_event(item: EventRow, why: str) -> DeadLetter:
    return _bury("event", item, item.event, why, item.shard)


def _bury_unlock(item: Unlock, why: str) -> DeadLetter:
    return _bury("unlock", item, item.event, why)


def _bury_evaluation(item: Evaluation, why: str) -> DeadLetter:
    return _bury("evaluation", item, item.event, why)


def _bury(kind: str, item: tuple[Any, ...], event: Event, why: str, shard: int | None = None) -> DeadLetter:
    raw = msgpack.packb(item, default=str)  # a Decimal as text
    whose = (str(event.tenant_id), str(event.user_id))  # as texts: what was refused may be no text
    return DeadLetter(kind, Reason.REFUSED_BY_POSTGRESQL, why, raw, [str(event.event_id)], *whose, shard)


PROGRESS: Layer[ProgressRow] = Layer(
    "upsert_progress",
    (
        *("tenant_id", "user_id", "goal_id", "period", "challenge_id", "progress", "completed_at"),
        *("rule_version", "operator", "state", "stamp", "created_at", "updated_at", "reached_at", "slots", "is_part"),
    ),
    _progress_values,
    lambda item: (item.tenant_id, item.user_id, item.row.goal_id, item.row.period),
    _bury_progress,
)
EVENTS: Layer[EventRow] = Layer(
    "insert_events",
    (
        *("tenant_id", "user_id", "event_id", "occurred_at", "event_type", "source", "value", "increment"),
        *("payload", "accepted_at", "applied_at", "shard", "stamp", "timezone", "attributes", "rules_revision"),
    ),
    _event_values,
    lambda item: (item.event.tenant_id, item.event.user_id, item.event.event_id),
    _bury_event,
)
UNLOCKS: Layer[Unlock] = Layer(
    "insert_unlocks",
    (
        *("tenant_id", "user_id", "goal_id", "period", "challenge_id", "rule_version", "event_id", "completed_at"),
        *("event_type", "source", "occurred_at"),
    ),
    _unlock_values,
    lambda item: (item.event.tenant_id, item.event.user_id, item.goal_id, item.period),
    _bury_unlock,
)
EVALUATIONS: Layer[Evaluation] = Layer(
    "insert_evaluations",
    (
        *("tenant_id", "user_id", "event_id", "goal_id", "period", "evaluated_at", "event_type", "source"),
        *("occurred_at", "challenge_id", "rule_version", "progress_before", "progress_after", "status_before"),
        *("status", "decision"),
    ),
    _evaluation_values,
    lambda item: (item.event.tenant_id, item.event.user_id, item.event.event_id, item.goal_id, item.period),
    _bury_evaluation,
)
