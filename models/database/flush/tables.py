"""Table writers: statement, columns, and the dead letter of a refused item.

The tables are progress, events, unlocks and evaluations. Writing the same items again changes nothing. An item that
PostgreSQL refuses is kept as msgpack, decimals as text, and read back by ``read``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgpack
import orjson
from sqlalchemy import Connection

from models.database import partitions
from models.database.connection import statement
from models.database.dead_letters.writer import DeadLetter
from models.database.flush.items import EventRow, Number, ProgressRow
from models.dead_letter_reasons import Reason
from models.events import Event
from models.rules.operators import progress_of
from models.rules.rows import Evaluation, Row, Unlock

T = TypeVar("T")
Columns = Mapping[str, Sequence[str | float | None]]


class TableWriter(ABC, Generic[T]):
    """Writes one table."""

    kind: ClassVar[str]
    """Of the dead letters of refused items."""
    statement: ClassVar[str]
    partitioned: ClassVar[str] = ""
    """The table's name, where it is partitioned by days."""

    @abstractmethod
    def columns(self, items: Sequence[T]) -> Columns:
        """The statement's parameters."""

    @abstractmethod
    def key(self, item: T) -> tuple[Any, ...]:
        """What items are sorted by, so that two flushes lock rows in the same order."""

    @abstractmethod
    def dead_letter(self, item: T, why: str) -> DeadLetter:
        """The dead letter of an item that PostgreSQL refused, and what it said."""

    @abstractmethod
    def read(self, packed: Sequence[Any]) -> T:
        """The item of a dead letter; raises whatever packed values raise that are none."""

    def at(self, _item: T) -> int:
        """Where the table is partitioned, the time (µs) whose day an item belongs to."""
        return 0

    def write(self, connection: Connection, items: Sequence[T]) -> None:
        """Write items by one statement, each column as one array."""
        arrays = {name: _array_literal(values) for name, values in self.columns(items).items()}
        connection.exec_driver_sql(statement(self.statement), arrays)

    def in_order(self, items: Sequence[T]) -> list[T]:
        """The items sorted by their keys."""
        try:
            return sorted(items, key=self.key)
        except TypeError:  # an id that is no text: any order will do until it has become a dead letter
            return sorted(items, key=lambda item: [str(part) for part in self.key(item)])


class _Progress(TableWriter[ProgressRow]):
    kind = "row"
    statement = "upsert_progress"

    def columns(self, items: Sequence[ProgressRow]) -> Columns:
        rows = [item.row for item in items]
        return {
            "tenant_id": [item.tenant_id for item in items],
            "user_id": [item.user_id for item in items],
            "goal_id": [row.goal_id for row in rows],
            "period": [row.period for row in rows],
            "challenge_id": [row.challenge_id for row in rows],
            "progress": [_number(progress_of(row)) for row in rows],
            "completed_at": [row.completed_at or None for row in rows],
            "rule_version": [row.rule_version for row in rows],
            "operator": [row.operator for row in rows],
            "state": [orjson.dumps(row.state).decode() for row in rows],
            "stamp": [row.record_version for row in rows],
            "created_at": [row.created_at for row in rows],
            "updated_at": [row.updated_at for row in rows],
            "reached_at": [row.reached_at or None for row in rows],
            "slots": [orjson.dumps(row.version_states).decode() for row in rows],
            "is_part": [row.part for row in rows],
        }

    def key(self, item: ProgressRow) -> tuple[Any, ...]:
        return item.tenant_id, item.user_id, item.row.goal_id, item.row.period

    def dead_letter(self, item: ProgressRow, why: str) -> DeadLetter:
        raw = msgpack.packb(item, default=str)
        return DeadLetter(self.kind, Reason.REFUSED_BY_POSTGRESQL, why, raw, [], item.tenant_id, item.user_id)

    def read(self, packed: Sequence[Any]) -> ProgressRow:
        tenant_id, user_id, row = packed
        return ProgressRow(tenant_id, user_id, Row(*row))


class _OfEvent(Protocol):
    @property
    def event(self) -> Event: ...


E = TypeVar("E", bound=_OfEvent)


class _EventTable(TableWriter[E]):
    """A table whose items each hold an event."""

    def shard(self, _item: E) -> int | None:
        """The shard that the dead letter of an item names."""
        return None

    def dead_letter(self, item: E, why: str) -> DeadLetter:
        event, raw = item.event, msgpack.packb(item, default=str)
        whose = (str(event.tenant_id), str(event.user_id))  # as texts: what was refused may be no text
        ids = [str(event.event_id)]
        return DeadLetter(self.kind, Reason.REFUSED_BY_POSTGRESQL, why, raw, ids, *whose, self.shard(item))


class _Events(_EventTable[EventRow]):
    kind = "event"
    statement = "insert_events"
    partitioned = partitions.EVENTS

    def columns(self, items: Sequence[EventRow]) -> Columns:
        events = [item.event for item in items]
        return {
            "tenant_id": [event.tenant_id for event in events],
            "user_id": [event.user_id for event in events],
            "event_id": [event.event_id for event in events],
            "occurred_at": [event.occurred_at for event in events],
            "event_type": [event.event_type for event in events],
            "source": [event.source for event in events],
            "value": [event.value for event in events],
            "increment": [event.increment for event in events],
            "payload": [event.payload.decode() or None for event in events],
            "accepted_at": [event.accepted_at for event in events],
            "applied_at": [item.applied_at for item in items],
            "shard": [item.shard for item in items],
            "stamp": [item.record_version for item in items],
            "timezone": [event.timezone for event in events],
            "attributes": [event.attributes.decode() or None for event in events],
            "rules_revision": [item.revision or None for item in items],
        }

    def key(self, item: EventRow) -> tuple[Any, ...]:
        return item.event.tenant_id, item.event.user_id, item.event.event_id

    def at(self, item: EventRow) -> int:
        return item.event.occurred_at

    def shard(self, item: EventRow) -> int | None:
        return item.shard

    def read(self, packed: Sequence[Any]) -> EventRow:
        event, *rest = packed
        return EventRow(Event(*event), *rest)


class _Unlocks(_EventTable[Unlock]):
    kind = "unlock"
    statement = "insert_unlocks"

    def columns(self, items: Sequence[Unlock]) -> Columns:
        return _columns_of_events([item.event for item in items]) | {
            "goal_id": [item.goal_id for item in items],
            "period": [item.period for item in items],
            "challenge_id": [item.challenge_id for item in items],
            "rule_version": [item.rule_version for item in items],
            "completed_at": [item.completed_at for item in items],
        }

    def key(self, item: Unlock) -> tuple[Any, ...]:
        return item.event.tenant_id, item.event.user_id, item.goal_id, item.period

    def read(self, packed: Sequence[Any]) -> Unlock:
        event, *rest = packed
        return Unlock(Event(*event), *rest)


class _Evaluations(_EventTable[Evaluation]):
    kind = "evaluation"
    statement = "insert_evaluations"
    partitioned = partitions.EVALUATIONS

    def columns(self, items: Sequence[Evaluation]) -> Columns:
        return _columns_of_events([item.event for item in items]) | {
            "goal_id": [item.goal_id for item in items],
            "period": [item.period for item in items],
            "evaluated_at": [item.evaluated_at for item in items],
            "challenge_id": [item.challenge_id for item in items],
            "rule_version": [item.rule_version for item in items],
            "progress_before": [_number(item.progress_before) for item in items],
            "progress_after": [_number(item.progress_after) for item in items],
            "status_before": [item.status_before for item in items],
            "status": [item.status for item in items],
            "decision": [item.decision for item in items],
        }

    def key(self, item: Evaluation) -> tuple[Any, ...]:
        return item.event.tenant_id, item.event.user_id, item.event.event_id, item.goal_id, item.period

    def at(self, item: Evaluation) -> int:
        return item.evaluated_at

    def read(self, packed: Sequence[Any]) -> Evaluation:
        event, *rest = packed
        found = Evaluation(Event(*event), *rest)
        return found._replace(
            progress_before=_unpacked(found.progress_before), progress_after=_unpacked(found.progress_after)
        )


def _columns_of_events(events: Sequence[Event]) -> dict[str, Sequence[str | float | None]]:
    """What unlocks and evaluations say of their events."""
    return {
        "tenant_id": [event.tenant_id for event in events],
        "user_id": [event.user_id for event in events],
        "event_id": [event.event_id for event in events],
        "event_type": [event.event_type for event in events],
        "source": [event.source for event in events],
        "occurred_at": [event.occurred_at for event in events],
    }


def _number(value: Number) -> str | None:
    """A number as PostgreSQL's ``numeric`` reads it: exactly, and without ``.0``."""
    if value is None:
        return None
    return str(int(value)) if value == int(value) else str(value)


def _unpacked(number: Any) -> Any:
    return Decimal(number) if isinstance(number, str) else number


def _array_literal(values: Sequence[str | float | None]) -> str:
    r"""The literal of a one-dimensional array: one parameter a column, whatever the number of rows.

    psycopg2 would spell a list as ``ARRAY['a', 'b', ...]``, which the server parses as one expression for each element;
    a literal is read by the column type's own input function, at half the cost on both sides.

    Within the texts we store, JSON's list and PostgreSQL's literal differ only in their brackets: both quote with
    '"', escape '"' and '\' with '\', and write null as null. They part at control characters, which JSON spells
    in an escape of its own (as ``\n``) and which no text of ours holds: ids are refused with them, and JSON texts have
    them escaped.
    Syntax: PostgreSQL documentation, section 8.15.6, "Array Input and Output Syntax".
    """
    return "{" + orjson.dumps(values).decode()[1:-1] + "}"


PROGRESS, EVENTS, UNLOCKS, EVALUATIONS = _Progress(), _Events(), _Unlocks(), _Evaluations()
TABLES: Mapping[str, TableWriter[Any]] = {table.kind: table for table in (PROGRESS, EVENTS, UNLOCKS, EVALUATIONS)}
"""By the kind of their dead letters."""
