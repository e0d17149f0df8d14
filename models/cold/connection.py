"""The one way to reach PostgreSQL, and the one place where its driver's errors enter our tree."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from importlib.resources import files

from psycopg2.errors import UndefinedTable
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.errors import DatabaseUnavailableError

STATEMENT_TIMEOUT = timedelta(seconds=30)
SERVER_TIMEOUT = timedelta(seconds=30)
"""How long PostgreSQL's host may leave what was sent to it unacknowledged before a connection counts as broken."""
_WRONG_STATEMENT, _READ_ONLY, _LIMIT_EXCEEDED = "42", "25006", "54"
"""PostgreSQL's class of errors of syntax and access rules; its code for writing where it only reads; its class of what
passes a limit of the server, as a row does that is too large for an index."""


def connect_database(
    url: str,
    *,
    pool_size: int = 2,
    application: str = "questline",
    statement_timeout: timedelta = STATEMENT_TIMEOUT,
    pre_ping: bool = True,
) -> Engine:
    """An engine for PostgreSQL; opens nothing until it is used. Must not be shared over a fork.

    A ``statement_timeout`` of zero lets a statement take as long as it needs. Without ``pre_ping`` a connection that
    broke while it rested is noticed by the statement that uses it, which then fails.
    """
    milliseconds = statement_timeout // timedelta(milliseconds=1)
    return create_engine(
        url.replace("postgresql://", "postgresql+psycopg2://", 1),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=pre_ping,
        connect_args={
            "connect_timeout": 5,
            "application_name": application,
            "options": f"-c timezone=UTC -c statement_timeout={milliseconds}",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": SERVER_TIMEOUT // timedelta(milliseconds=1),  # keepalives rest while data is under way
        },
    )


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what does not lie in the data into ``DatabaseUnavailableError``; refused data stays what it is."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        if _passes_a_limit(error):
            raise
        raise DatabaseUnavailableError(f"PostgreSQL did not answer: {error}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailableError(f"PostgreSQL went away: {error}") from error
        if isinstance(error.orig, UndefinedTable):
            raise DatabaseUnavailableError(
                "PostgreSQL has not this version's tables yet: run `questline migrate`"
            ) from error
        if refuses_everything(error):
            raise DatabaseUnavailableError(f"PostgreSQL refuses this, whatever is in it: {error}") from error
        raise


def refuses_everything(error: BaseException) -> bool:
    """Whether PostgreSQL is away, has not what a statement asks for, does not allow it, or only reads for now.

    That is the fault of the installation (a migration is missing, a right, a standby was reached), and passes with it:
    the data of a statement, which was made before, has no part in it.
    """
    if isinstance(error, OperationalError) and not _passes_a_limit(error):
        return True
    code = _code_of(error)
    return code.startswith(_WRONG_STATEMENT) or code == _READ_ONLY


def _passes_a_limit(error: BaseException) -> bool:
    """Whether a row is too large for the server, which psycopg2 files with the errors of a server that is away."""
    return _code_of(error).startswith(_LIMIT_EXCEEDED)


def _code_of(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "pgcode", None) or "")


@cache
def statement(name: str) -> str:
    """The statement of ``sql/<name>.sql``, in psycopg2's notation."""
    return (files("models.cold") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
