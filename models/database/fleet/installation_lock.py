"""The lock of changes of the shared settings: one at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from models.database.connection import database_errors
from models.errors import PermanentError

_LOCK = 7_305_116_274_010  # any number that no other lock has, the same for every change


class ChangeLock:
    """The lock, held by a transaction: a pool of connections in front of PostgreSQL leaves it to its owner."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Ask whether it is still held.

        Raises:
            DatabaseUnavailableError: the connection is gone, and the lock with it.
        """
        with database_errors():
            self._connection.exec_driver_sql("SELECT 1")


@contextmanager
def change_lock(engine: Engine) -> Iterator[ChangeLock]:
    """Hold the lock.

    Raises:
        PermanentError: another command holds it.
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        if not connection.exec_driver_sql("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).scalar_one():
            raise PermanentError("another command is changing the shared settings: wait for its end")
        yield ChangeLock(connection)
