"""Rows that PostgreSQL refused: read from their dead letters and written again.

They were packed by ``tables.py`` as msgpack, decimals as text. Writing one is safe however often it happens, and
however late: a progress row by its version, the others by their keys.
"""

from decimal import InvalidOperation
from typing import Any

import msgpack
from sqlalchemy import Engine

from models.database.connection import database_errors
from models.database.dead_letters.changes import DeadLetterChanges, resolve
from models.database.dead_letters.reader import StoredDeadLetter
from models.database.flush.tables import TABLES
from models.database.flush.writer import REFUSED, message_of
from models.database.partitions import ensure_partitions
from models.errors import MalformedDeadLetterError
from models.rules.calendar import to_datetime

ROW_KINDS = frozenset(TABLES)
"""The kinds of dead letters that hold a row."""


class RowRewriter:
    """Writes rows that PostgreSQL refused once more."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changes = DeadLetterChanges(engine)

    def rewrite(self, dead_letter: StoredDeadLetter) -> str | None:
        """Write a dead letter's row and delete the dead letter, in one transaction.

        Returns:
            None when that is done; what PostgreSQL said where it refuses the row again: the dead letter stays, with
            one attempt more.

        Raises:
            MalformedDeadLetterError: the dead letter holds no such row.
            DatabaseUnavailableError: PostgreSQL did not answer; doing it again is safe.
        """
        table = TABLES[dead_letter.head.kind]
        item = read_refused(dead_letter.head.kind, dead_letter.raw)
        try:
            if table.partitioned:
                ensure_partitions(self._engine, [to_datetime(table.at(item)).date()], table.partitioned)
            with database_errors(), self._engine.begin() as connection:
                table.write(connection, [item])
                resolve(connection, dead_letter.head)
        except REFUSED as error:
            self._changes.refuse_again(dead_letter.head, message_of(error))
            return message_of(error)
        return None


def read_refused(kind: str, raw: bytes) -> Any:
    """The row of a dead letter: a ProgressRow, EventRow, Unlock or Evaluation, by the dead letter's kind.

    Raises:
        MalformedDeadLetterError: the bytes are none.
    """
    try:
        return TABLES[kind].read(msgpack.unpackb(raw))
    except (ValueError, TypeError, KeyError, IndexError, InvalidOperation, msgpack.UnpackException) as error:
        raise MalformedDeadLetterError(f"not a refused {kind}: {error!r}") from error
