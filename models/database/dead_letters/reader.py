"""Reading dead letters: in pages, one as a whole, or counted by cause.

Pages go by id, not by offset, so that dead letters which come and go meanwhile are neither shown twice nor missed.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, Select, func, select

from models.database.connection import database_errors
from models.database.dead_letters.filter import DeadLetterFilter
from models.database.tables import dead_letters

MAX_PAGE = 200
"""Dead letters of a page: each may name some hundred events."""
MAX_GROUPS = 500
_FIRST_LINE = 200
_KNOWN = dead_letters.c


class DeadLetterHead(NamedTuple):
    """A dead letter without its bytes and its traceback."""

    id: int
    kind: str
    reason: str
    tenant_id: str | None
    user_id: str | None
    shard: int | None
    batch_id: str | None
    event_ids: list[str]
    error: str
    attempts: int
    task: str | None
    exception: str | None
    first_seen: datetime
    last_seen: datetime
    size: int
    """Bytes of what could not be processed."""


class StoredDeadLetter(NamedTuple):
    """A dead letter as a whole."""

    head: DeadLetterHead
    raw: bytes
    traceback: str | None


class DeadLetterGroup(NamedTuple):
    """Dead letters of one cause."""

    kind: str
    reason: str
    task: str | None
    exception: str | None
    error: str
    """The first line of the error."""
    number: int
    first_seen: datetime
    last_seen: datetime
    example: int
    """The id of the newest of them."""


class DeadLetterReader:
    """Reads the table ``dead_letters``. Every method raises DatabaseUnavailableError where PostgreSQL is away."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def newest(
        self, wanted: DeadLetterFilter, *, before: int | None = None, limit: int = MAX_PAGE
    ) -> list[DeadLetterHead]:
        """A page, the newest first, of dead letters with smaller ids than ``before``."""
        statement = _heads(wanted).order_by(_KNOWN.id.desc()).limit(limit)
        return self._page(statement if before is None else statement.where(_KNOWN.id < before))

    def oldest(self, wanted: DeadLetterFilter, *, after: int = 0, limit: int = MAX_PAGE) -> list[DeadLetterHead]:
        """A page, the oldest first, of dead letters with greater ids than ``after``."""
        return self._page(_heads(wanted).order_by(_KNOWN.id).limit(limit).where(_KNOWN.id > after))

    def all(self, wanted: DeadLetterFilter) -> Iterator[DeadLetterHead]:
        """Every dead letter, the oldest first, with one page in memory."""
        after = 0
        while page := self.oldest(wanted, after=after):
            yield from page
            after = page[-1].id

    def all_newest(self, wanted: DeadLetterFilter) -> Iterator[DeadLetterHead]:
        """Every dead letter, the newest first, with one page in memory."""
        before: int | None = None
        while page := self.newest(wanted, before=before):
            yield from page
            before = page[-1].id

    def dead_letter(self, letter_id: int, wanted: DeadLetterFilter | None = None) -> StoredDeadLetter | None:
        """One dead letter; None where there is none, or none that the filter lets through."""
        conditions = (wanted or DeadLetterFilter()).conditions()
        statement = _heads(DeadLetterFilter()).add_columns(_KNOWN.raw, _KNOWN.traceback)
        with database_errors(), self._engine.connect() as connection:
            found = connection.execute(statement.where(_KNOWN.id == letter_id, *conditions)).one_or_none()
        if found is None:
            return None
        *head, raw, traceback = found
        return StoredDeadLetter(DeadLetterHead(*head), bytes(raw), traceback)

    def count(self, wanted: DeadLetterFilter, *, after: int = 0) -> int:
        """How many dead letters there are with greater ids than ``after``."""
        statement = select(func.count()).where(*wanted.conditions(), _KNOWN.id > after)
        with database_errors(), self._engine.connect() as connection:
            return int(connection.execute(statement).scalar_one())

    def groups(self, wanted: DeadLetterFilter) -> list[DeadLetterGroup]:
        """Dead letters by their cause, the largest group first, up to ``MAX_GROUPS``."""
        line = func.left(func.split_part(_KNOWN.error, "\n", 1), _FIRST_LINE).label("line")
        cause = (_KNOWN.kind, _KNOWN.reason, _KNOWN.task, _KNOWN.exception, line)
        number = func.count().label("number")
        seen = (func.min(_KNOWN.first_seen), func.max(_KNOWN.last_seen), func.max(_KNOWN.id))
        statement = select(*cause, number, *seen).where(*wanted.conditions()).order_by(number.desc(), line)
        # By name: an expression that is written again would be other parameters, and so another expression.
        statement = statement.group_by(*cause[:4], "line").limit(MAX_GROUPS)
        with database_errors(), self._engine.connect() as connection:
            return [DeadLetterGroup(*found) for found in connection.execute(statement)]

    def depth(self) -> Mapping[tuple[str, str], int]:
        """How many dead letters there are by kind and reason."""
        statement = select(_KNOWN.kind, _KNOWN.reason, func.count()).group_by(_KNOWN.kind, _KNOWN.reason)
        with database_errors(), self._engine.connect() as connection:
            return {(kind, reason): number for kind, reason, number in connection.execute(statement)}

    def _page(self, statement: Select[Any]) -> list[DeadLetterHead]:
        with database_errors(), self._engine.connect() as connection:
            return [DeadLetterHead(*found) for found in connection.execute(statement)]


def _heads(wanted: DeadLetterFilter) -> Select[Any]:
    columns = [_KNOWN[name] for name in DeadLetterHead._fields if name != "size"]
    return select(*columns, func.octet_length(_KNOWN.raw)).where(*wanted.conditions())
