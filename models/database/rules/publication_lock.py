"""The lock of publications: one at a time; readers see what is committed.

Transactions are READ COMMITTED (``transactions.py``): one snapshot, taken before the lock, would not show what was
published meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, select

from models.database.connection import database_errors
from models.database.tables import rule_publications

LOCK_WAIT_MS = 2_000
"""How long a reader waits for a publication under way."""
LONGEST_PAUSE_MS = 10_000
"""How long a publisher may do nothing: then PostgreSQL ends its transaction, for all workers are waiting for it."""
_LOCK = 7_305_116_274_002  # any number, the same for every publication


@contextmanager
def publishing(engine: Engine) -> Iterator[Connection]:
    """A transaction that publishes; others that would wait until it ends.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {LONGEST_PAUSE_MS}")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        yield connection


@contextmanager
def stable_revision(engine: Engine) -> Iterator[int]:
    """The newest publication (0: none), which stays the newest until the block ends.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer, or a publication has taken too long.
    """
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock_shared(%s)", (_LOCK,))
        yield connection.execute(select(func.max(rule_publications.c.revision))).scalar_one() or 0
