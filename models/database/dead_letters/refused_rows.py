"""Rows that PostgreSQL refused: read back out of their dead letters, and written once more.

They were packed by ``layers.py`` as msgpack, decimals as text. Writing one is safe however often it happens, and
however late: a progress row by its stamp, the others by their keys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar

import msgpack
from sqlalchemy import Engine

from models.database import partitions
from models.database.connection import database_errors
from models.database.dead_letters.changes import LetterChanges, settle
from models.database.dead_letters.reader import StoredLetter
from models.database.flush import tables as layers
from models.database.flush.items import EventRow, ProgressRow
from models.database.flush.tables import Layer
from models.database.flush.writer import REFUSED, words_of
from models.errors import MalformedLetterError
from models.events import Event
from models.rules.calendar import moment
from models.rules.rows import Evaluation, Row, Unlock

T = TypeVar("T")
Day = tuple[str, int]
"""A partitioned table, and a moment (microseconds since the epoch) of the day that is written to."""


@dataclass(frozen=True, slots=True)
class _Refused(Generic[T]):
    """How the rows of one layer come back."""

    layer: Layer[T]
    read: Callable[[Sequence[Any]], T]
    day: Callable[[T], Day | None] = lambda _: None


class RowRewriter:
    """Writes rows that PostgreSQL refused once more."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changes = LetterChanges(engine)

    def rewrite(self, letter: StoredLetter) -> str | None:
        """Write a letter's row and delete the letter, in one transaction.

        Returns:
            None when that is done; what PostgreSQL said where it refuses the row again: the letter stays, with
            one attempt more.

        Raises:
            MalformedLetterError: the letter holds no such row.
            DatabaseUnavailableError: PostgreSQL did not answer; doing it again is safe.
        """
        kept = _KINDS[letter.head.kind]
        item = read_refused(letter.head.kind, letter.raw)
        try:
            self._make_room(kept.day(item))
            with database_errors(), self._engine.begin() as connection:
                kept.layer.write(connection, [item])
                settle(connection, letter.head)
        except REFUSED as error:
            self._changes.refuse_again(letter.head, words_of(error))
            return words_of(error)
        return None

    def _make_room(self, day: Day | None) -> None:
        if day is not None:
            table, at = day
            partitions.ensure_partitions(self._engine, [moment(at).date()], table)


def read_refused(kind: str, raw: bytes) -> Any:
    """The row of a dead letter: a ProgressRow, EventRow, Unlock or Evaluation, by the letter's kind.

    Raises:
        MalformedLetterError: the bytes are none.
    """
    try:
        return _KINDS[kind].read(msgpack.unpackb(raw))
    except (ValueError, TypeError, KeyError, IndexError, InvalidOperation, msgpack.UnpackException) as error:
        raise MalformedLetterError(f"not a refused {kind}: {error!r}") from error


def _progress_row(packed: Sequence[Any]) -> ProgressRow:
    tenant_id, user_id, row = packed
    return ProgressRow(tenant_id, user_id, Row(*row))


def _event_row(packed: Sequence[Any]) -> EventRow:
    event, *rest = packed
    return EventRow(Event(*event), *rest)


def _unlock(packed: Sequence[Any]) -> Unlock:
    event, *rest = packed
    return Unlock(Event(*event), *rest)


def _evaluation(packed: Sequence[Any]) -> Evaluation:
    event, *rest = packed
    found = Evaluation(Event(*event), *rest)
    before, after = _number(found.progress_before), _number(found.progress_after)
    return found._replace(progress_before=before, progress_after=after)


def _number(packed: Any) -> Any:
    return Decimal(packed) if isinstance(packed, str) else packed


_KINDS: Mapping[str, _Refused[Any]] = {
    "row": _Refused(layers.PROGRESS, _progress_row),
    "event": _Refused(layers.EVENTS, _event_row, lambda item: (partitions.EVENTS, item.event.occurred_at)),
    "unlock": _Refused(layers.UNLOCKS, _unlock),
    "evaluation": _Refused(layers.EVALUATIONS, _evaluation, lambda item: (partitions.EVALUATIONS, item.evaluated_at)),
}
ROW_KINDS = frozenset(_KINDS)
"""The kinds of dead letters that hold a row."""
