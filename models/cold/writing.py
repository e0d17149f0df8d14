"""The write of a flush: rows, events and unlocks in one transaction, bad ones kept aside.

A row that PostgreSQL refuses must neither block its neighbours nor vanish: the batch is halved until the bad row is
alone, and that row becomes a dead letter with the server's words, in the same transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple, TypeVar

import msgpack
import orjson
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, InternalError, ProgrammingError

from models.cold.arrays import array_literal
from models.cold.connection import database_errors, statement
from models.cold.partitions import ensure_partitions
from models.events import Event
from models.rules.calendar import moment
from models.rules.operators import progress_of
from models.rules.rows import Row

T = TypeVar("T")

_REFUSED = (DataError, IntegrityError, InternalError, ProgrammingError, ValueError)


class ProgressRow(NamedTuple):
    """A row and whose it is."""

    tenant_id: str
    user_id: str
    row: Row


class EventRow(NamedTuple):
    """An applied event. Times are microseconds since the epoch."""

    event: Event
    shard: int
    stamp: int
    applied_at: int


class UnlockRow(NamedTuple):
    """A completion and the event that made it."""

    event: Event
    goal_id: str
    period: str
    challenge_id: str
    rule_version: int
    completed_at: int


class DeadLetter(NamedTuple):
    """Something that could not be processed."""

    kind: str
    reason: str
    error: str
    raw: bytes
    event_ids: list[str]
    tenant_id: str | None = None
    user_id: str | None = None
    shard: int | None = None
    batch_id: str | None = None
    attempts: int = 1


@dataclass(slots=True)
class Flush:
    """Everything one transaction writes."""

    progress: list[ProgressRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    unlocks: list[UnlockRow] = field(default_factory=list)


class FlushWriter:
    """Writes flushes; remembers which partitions it has seen."""

    def __init__(self, engine: Engine, *, batch_size: int) -> None:
        self._engine = engine
        self._batch_size = batch_size
        self._days: set[date] = set()

    def write(self, flush: Flush) -> list[DeadLetter]:
        """Commit a flush; returns what PostgreSQL refused, which was committed as dead letters.

        Raises:
            DatabaseUnavailableError: nothing was committed, or it is not known whether it was; writing again is safe.
        """
        self._make_room(flush.events)
        refused: list[DeadLetter] = []
        with database_errors(), self._engine.begin() as connection:
            for chunk in self._chunks(sorted(flush.progress, key=_progress_key)):
                refused += [_dead_row(item, why) for item, why in _isolating(connection, chunk, _upsert)]
            for events in self._chunks(sorted(flush.events, key=_event_key)):
                refused += [_dead_event(item, why) for item, why in _isolating(connection, events, _insert_events)]
            for unlocks in self._chunks(sorted(flush.unlocks, key=_unlock_key)):
                refused += [_dead_unlock(item, why) for item, why in _isolating(connection, unlocks, _insert_unlocks)]
            insert_dead_letters(connection, refused)
        return refused

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Commit dead letters.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        with database_errors(), self._engine.begin() as connection:
            insert_dead_letters(connection, letters)

    def _chunks(self, items: Sequence[T]) -> list[Sequence[T]]:
        return [items[at : at + self._batch_size] for at in range(0, len(items), self._batch_size)]

    def _make_room(self, events: Sequence[EventRow]) -> None:
        days = {moment(row.event.occurred_at).date() for row in events} - self._days
        if days:
            ensure_partitions(self._engine, days)
            self._days |= days


def insert_dead_letters(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Add dead letters to a transaction."""
    for letter in letters:
        connection.exec_driver_sql(statement("insert_dead_letter"), letter._asdict())


def _isolating(
    connection: Connection, items: Sequence[T], write: Callable[[Connection, Sequence[T]], None]
) -> list[tuple[T, str]]:
    try:
        with connection.begin_nested():
            write(connection, items)
    except _REFUSED as error:
        if len(items) == 1:
            return [(items[0], str(getattr(error, "orig", error)).strip())]
        half = len(items) // 2
        return _isolating(connection, items[:half], write) + _isolating(connection, items[half:], write)
    return []


def _execute(connection: Connection, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    arrays = [array_literal(column) for column in zip(*rows, strict=True)]
    connection.exec_driver_sql(statement(name), dict(zip(columns, arrays, strict=True)))


_PROGRESS = (
    *("tenant_id", "user_id", "goal_id", "period", "challenge_id", "progress", "completed_at"),
    *("rule_version", "operator", "state", "stamp", "created_at", "updated_at"),
)
_EVENTS = (
    *("tenant_id", "user_id", "event_id", "occurred_at", "event_type", "source", "value", "increment"),
    *("payload", "accepted_at", "applied_at", "shard", "stamp"),
)
_UNLOCKS = (*("tenant_id", "user_id", "goal_id", "period", "challenge_id", "rule_version", "event_id", "completed_at"),)


def _upsert(connection: Connection, items: Sequence[ProgressRow]) -> None:
    _execute(connection, "upsert_progress", _PROGRESS, [_progress_values(item) for item in items])


def _progress_values(item: ProgressRow) -> Sequence[Any]:
    row = item.row
    return (
        *(item.tenant_id, item.user_id, row.goal_id, row.period, row.challenge_id, str(progress_of(row))),
        *(row.completed_at or None, row.rule_version, row.operator, orjson.dumps(row.state).decode()),
        *(row.stamp, row.created_at, row.updated_at),
    )


def _insert_events(connection: Connection, items: Sequence[EventRow]) -> None:
    _execute(connection, "insert_events", _EVENTS, [_event_values(item) for item in items])


def _event_values(item: EventRow) -> Sequence[Any]:
    event = item.event
    return (
        *(event.tenant_id, event.user_id, event.event_id, event.occurred_at, event.event_type, event.source),
        *(event.value, event.increment, event.payload.decode() or None, event.accepted_at),
        *(item.applied_at, item.shard, item.stamp),
    )


def _insert_unlocks(connection: Connection, items: Sequence[UnlockRow]) -> None:
    rows = [
        (
            u.event.tenant_id,
            u.event.user_id,
            u.goal_id,
            u.period,
            u.challenge_id,
            u.rule_version,
            u.event.event_id,
            u.completed_at,
        )
        for u in items
    ]
    _execute(connection, "insert_unlocks", _UNLOCKS, rows)


def _progress_key(item: ProgressRow) -> tuple[str, str, str, str]:
    return item.tenant_id, item.user_id, item.row.goal_id, item.row.period


def _event_key(item: EventRow) -> tuple[str, str, str]:
    return item.event.tenant_id, item.event.user_id, item.event.event_id


def _unlock_key(item: UnlockRow) -> tuple[str, str, str, str]:
    return item.event.tenant_id, item.event.user_id, item.goal_id, item.period


def _dead_row(item: ProgressRow, why: str) -> DeadLetter:
    return DeadLetter("row", "refused_by_postgresql", why, msgpack.packb(item), [], item.tenant_id, item.user_id)


def _dead_event(item: EventRow, why: str) -> DeadLetter:
    return _dead(item.event, "event", why, msgpack.packb(item), item.shard)


def _dead_unlock(item: UnlockRow, why: str) -> DeadLetter:
    return _dead(item.event, "unlock", why, msgpack.packb(item), None)


def _dead(event: Event, kind: str, why: str, raw: bytes, shard: int | None) -> DeadLetter:
    return DeadLetter(kind, "refused_by_postgresql", why, raw, [event.event_id], event.tenant_id, event.user_id, shard)
