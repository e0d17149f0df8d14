"""Taking dead letters away: those that are resolved, and those that are discarded.

A dead letter whose events went their way once more may come back while it is being taken away, as the same dead letter
with one attempt more: it must not be taken away then. So ``resolve`` and ``narrow`` touch a dead letter only
while it is as it was read.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, update
from sqlalchemy.exc import IntegrityError

from models.database.connection import database_errors
from models.database.dead_letters.reader import DeadLetterHead
from models.database.dead_letters.writer import fingerprint_of
from models.database.tables import dead_letters
from models.events import Event, pack_batch

_KNOWN = dead_letters.c


class DeadLetterChanges:
    """Changes the table ``dead_letters``. Every method raises DatabaseUnavailableError where PostgreSQL is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def discard(self, ids: Sequence[int]) -> int:
        """Delete dead letters, whatever has become of them since they were read; returns how many there were."""
        with database_errors(), self._engine.begin() as connection:
            return connection.execute(delete(dead_letters).where(_KNOWN.id.in_(ids))).rowcount

    def resolve(self, head: DeadLetterHead) -> bool:
        """Delete a dead letter that was redriven; false where it has come back meanwhile, or is gone."""
        with database_errors(), self._engine.begin() as connection:
            return resolve(connection, head)

    def narrow(self, head: DeadLetterHead, events: Sequence[Event]) -> None:
        """Leave a batch's dead letter with these of its events, the others having been redriven."""
        raw = pack_batch(events)
        values = {
            "raw": raw,
            "event_ids": [event.event_id for event in events],
            "fingerprint": fingerprint_of(head.kind, head.reason, raw),
        }
        with database_errors(), self._engine.begin() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(update(dead_letters).where(*_as_read(head)).values(values))
            except IntegrityError:  # there is a dead letter of just these events already
                resolve(connection, head)

    def refuse_again(self, head: DeadLetterHead, error: str) -> None:
        """Note that a dead letter was tried once more, in vain."""
        values = {"attempts": _KNOWN.attempts + 1, "error": error, "last_seen": func.now()}
        with database_errors(), self._engine.begin() as connection:
            connection.execute(update(dead_letters).where(_KNOWN.id == head.id).values(values))


def resolve(connection: Connection, head: DeadLetterHead) -> bool:
    """Delete a dead letter in a transaction while it is as it was read; false where it is not."""
    return connection.execute(delete(dead_letters).where(*_as_read(head))).rowcount > 0


def _as_read(head: DeadLetterHead) -> tuple[ColumnElement[bool], ...]:
    return (_KNOWN.id == head.id, _KNOWN.attempts == head.attempts, _KNOWN.last_seen == head.last_seen)
