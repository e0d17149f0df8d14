"""The write of a flush: all tables in one transaction, refused items apart.

An item that PostgreSQL refuses must neither block its neighbours nor vanish: the batch is halved until the bad one is
alone, and it becomes a dead letter with the server's words, in the same transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from time import monotonic
from typing import TypeVar

from psycopg2.errors import CheckViolation
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError, InternalError, OperationalError, ProgrammingError

from models.database.connection import database_errors, refuses_everything
from models.database.dead_letters.writer import DeadLetter, insert_dead_letters
from models.database.fleet.histories import lock_histories, write_histories
from models.database.fleet.probes import write_probes
from models.database.flush.items import Flush
from models.database.flush.tables import EVALUATIONS, EVENTS, PROGRESS, UNLOCKS, TableWriter
from models.database.partitions import ensure_partitions
from models.errors import DatabaseUnavailableError, RetryableError
from models.rules.calendar import to_datetime

T = TypeVar("T")

REFUSED = (
    DataError,
    IntegrityError,
    InternalError,
    OperationalError,
    ProgrammingError,
    ValueError,  # these four: a field of an older release may be of any type
    TypeError,
    OverflowError,
    AttributeError,
)
"""What is raised where PostgreSQL, or the way to it, does not take an item as it is; unless it refuses everything."""
_REMEMBERED_SECONDS = 600
"""How long a partition counts as there without asking: another process may drop old ones."""


class FlushWriter:
    """Writes flushes; remembers for a while which partitions it has seen."""

    def __init__(self, engine: Engine, *, batch_size: int) -> None:
        self._engine = engine
        self._batch_size = batch_size
        self._made: dict[str, set[date]] = {}
        self._forget_at = 0.0

    def write(self, flush: Flush) -> list[DeadLetter]:
        """Commit a flush; returns what PostgreSQL refused, which was committed as dead letters; raises as ``begin``."""
        with self.begin(flush) as transaction:
            return transaction.write()

    @contextmanager
    def begin(self, flush: Flush) -> Iterator["FlushTransaction"]:
        """A transaction that is to write a flush; what is raised within it leaves nothing committed.

        Raises:
            DatabaseUnavailableError: nothing was committed, or it is not known whether it was; writing again is safe.
        """
        was_asked = self._make_room(flush)
        try:
            with database_errors(), self._engine.begin() as connection:
                yield FlushTransaction(connection, flush, self._batch_size, _Isolation(partitions_known=was_asked))
        except RetryableError:
            self._made = {}  # PostgreSQL may have been restored to a time before its newest partitions
            raise

    def store_dead_letters(self, dead_letters: Sequence[DeadLetter]) -> None:
        """Commit dead letters. One that PostgreSQL refuses is kept with its bytes, and without what else it says.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        with database_errors(), self._engine.begin() as connection:
            try:
                with connection.begin_nested():
                    insert_dead_letters(connection, dead_letters)
            except REFUSED as error:
                if refuses_everything(error):
                    raise
                _insert_one_by_one(connection, dead_letters)

    def _make_room(self, flush: Flush) -> bool:
        """Make the partitions that are missing; tells whether PostgreSQL was asked for all that the flush needs."""
        if monotonic() >= self._forget_at:
            self._made, self._forget_at = {}, monotonic() + _REMEMBERED_SECONDS
        known = self._ensure(EVENTS, flush.events)
        return self._ensure(EVALUATIONS, flush.evaluations) and known

    def _ensure(self, table: TableWriter[T], items: Sequence[T]) -> bool:
        made, days = self._made.setdefault(table.partitioned, set()), _days({table.at(item) for item in items})
        missing = days - made
        if missing:
            ensure_partitions(self._engine, missing, table.partitioned)
            made |= missing
        return missing == days


def _days(timestamps: set[int]) -> set[date]:
    """Without what is no time, whose row is refused when it is written."""
    days = set()
    for at in timestamps:
        with suppress(TypeError, OverflowError):
            days.add(to_datetime(at).date())
    return days


class FlushTransaction:
    """The transaction of a flush. The histories of its shards are locked until it ends."""

    def __init__(self, connection: Connection, flush: Flush, batch_size: int, isolation: "_Isolation") -> None:
        self._connection, self._flush, self._batch_size, self._isolate = connection, flush, batch_size, isolation
        shards = [shard.shard for shard in flush.shards]
        self.found = lock_histories(connection, shards) if shards else {}
        """The last flush of each shard that PostgreSQL has."""

    def write(self) -> list[DeadLetter]:
        """Write everything; returns what PostgreSQL refused, which becomes dead letters with the rest."""
        flush = self._flush
        refused = [
            *self._write_table(PROGRESS, flush.progress),
            *self._write_table(EVENTS, flush.events),
            *self._write_table(UNLOCKS, flush.unlocks),
            *self._write_table(EVALUATIONS, flush.evaluations),
        ]
        if flush.probes:
            write_probes(self._connection, flush.probes)
        if refused:
            insert_dead_letters(self._connection, refused)
        if flush.shards:
            write_histories(self._connection, flush.shards)
        return refused

    def _write_table(self, table: TableWriter[T], items: Sequence[T]) -> list[DeadLetter]:
        ordered, refused = table.in_order(items), []
        for at in range(0, len(ordered), self._batch_size):
            chunk = ordered[at : at + self._batch_size]
            refused += [table.dead_letter(item, why) for item, why in self._isolate(self._connection, chunk, table)]
        return refused


class _Isolation:
    """Writes items; those that PostgreSQL refuses are found by halves, and returned with its words."""

    def __init__(self, *, partitions_known: bool) -> None:
        self._partitions_known = partitions_known

    def __call__(self, connection: Connection, items: Sequence[T], table: TableWriter[T]) -> list[tuple[T, str]]:
        try:
            with connection.begin_nested():
                table.write(connection, items)
        except REFUSED as error:
            if refuses_everything(error):
                raise
            if _lacks_partition(error) and not self._partitions_known:
                raise DatabaseUnavailableError("a partition is gone; the next flush makes it anew") from error
            if len(items) == 1:
                return [(items[0], message_of(error))]
            half = len(items) // 2
            return self(connection, items[:half], table) + self(connection, items[half:], table)
        return []


def _lacks_partition(error: Exception) -> bool:
    """Whether a row's partition is not there: PostgreSQL files that with the violated checks, as one without a name."""
    cause = getattr(error, "orig", None)
    return isinstance(cause, CheckViolation) and not cause.diag.constraint_name


def _insert_one_by_one(connection: Connection, dead_letters: Sequence[DeadLetter]) -> None:
    for dead_letter in dead_letters:
        try:
            with connection.begin_nested():
                insert_dead_letters(connection, [dead_letter])
        except REFUSED as error:
            if refuses_everything(error):
                raise
            bare = DeadLetter(
                dead_letter.kind, dead_letter.reason, f"{message_of(error)}; {dead_letter.error}", dead_letter.raw, []
            )
            insert_dead_letters(connection, [bare])


def message_of(error: Exception) -> str:
    """What the server said of an item it refused."""
    return str(getattr(error, "orig", error)).strip()
