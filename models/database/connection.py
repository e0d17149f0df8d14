"""Connections to PostgreSQL; its driver's errors become ours here."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

from psycopg2.errors import UndefinedTable
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.database.server.servers import open_suitable
from models.database.server.transactions import ACCESS, Access, Opening
from models.errors import DatabaseUnavailableError

STATEMENT_TIMEOUT = timedelta(seconds=30)
_MARGIN = timedelta(seconds=1)
"""How much longer than the server's own timeout a statement is waited for; then the server stands still."""
POOL_TIMEOUT_S = 10.0
_WRONG_STATEMENT, _READ_ONLY, _LIMIT_EXCEEDED = "42", "25006", "54"
"""PostgreSQL's class of errors of syntax and access rules; its code for writing where it only reads; its class of what
passes a limit of the server, as a row does that is too large for an index."""


def connect_database(
    url: str,
    *,
    pool_size: int = 2,
    application: str = "questline",
    statement_timeout: timedelta = STATEMENT_TIMEOUT,
) -> Engine:
    """An engine for PostgreSQL; opens nothing until it is used. Must not be shared over a fork.

    A ``statement_timeout`` of zero lets a statement take as long as it needs.
    """
    opening = Opening(statement_timeout)
    patience_s = (statement_timeout + _MARGIN).total_seconds() if statement_timeout else None
    engine = create_engine(
        _shown(url),
        creator=lambda: open_suitable(url, opening, application=application, patience_s=patience_s),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_TIMEOUT_S if patience_s is None else min(POOL_TIMEOUT_S, patience_s),
        pool_pre_ping=True,
        use_native_hstore=False,  # one question less for each connection
    )
    event.listen(engine, "begin", opening.begin)
    return engine


def with_access(engine: Engine, access: Access) -> Engine:
    """The same engine, with the same connections, for transactions of this access."""
    return engine.execution_options(**{ACCESS: access})


def _shown(url: str) -> URL:
    """The URL as engines show it; of several hosts they cannot read the ports."""
    try:
        return make_url(url).set(drivername="postgresql+psycopg2")
    except (ArgumentError, ValueError):
        return URL.create("postgresql+psycopg2")


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what does not lie in the data into ``DatabaseUnavailableError``; refused data stays what it is."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        if _passes_a_limit(error):
            raise
        raise DatabaseUnavailableError(f"PostgreSQL did not answer: {_words(error)}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailableError(f"PostgreSQL went away: {_words(error)}") from error
        if isinstance(error.orig, UndefinedTable):
            raise DatabaseUnavailableError(
                "PostgreSQL has not this version's tables yet: run `questline migrate`"
            ) from error
        if refuses_everything(error):
            raise DatabaseUnavailableError(f"PostgreSQL refuses this, whatever is in it: {error}") from error
        raise


def _words(error: Exception) -> str:
    """What the driver says, without the name of its class and a link to what that means."""
    return str(getattr(error, "orig", None) or error).strip()


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


_STATEMENTS = Path(str(files("models.database") / "sql"))


@cache
def statement(name: str) -> str:
    """The statement of ``<name>.sql`` in a folder of ``sql/``, in psycopg2's notation."""
    return next(_STATEMENTS.rglob(f"{name}.sql")).read_text(encoding="utf-8")
