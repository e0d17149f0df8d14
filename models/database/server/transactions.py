"""Settings of each transaction, so that no default changes a result.

Nothing is set for a session: a pooler in transaction mode gives each transaction another one, and takes no ``options``
at the start. All goes out in one round trip, before the first statement.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from models.errors import OnlyReadsError, UnsuitableDatabaseError

Access = Literal["write", "read", "snapshot"]
"""``read`` may be answered by a standby too; ``snapshot`` reads, and sees nothing that is committed meanwhile."""
ACCESS = "questline_access"
"""The execution option of a connection or an engine that names its access; ``write`` where it is not set."""

_CHARACTERISTICS: Mapping[Access, str] = {
    "write": "ISOLATION LEVEL READ COMMITTED, READ WRITE",
    "read": "ISOLATION LEVEL READ COMMITTED, READ ONLY",
    "snapshot": "ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}
_FIXED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",  # the shortest text that is exactly the number
    "bytea_output": "hex",
    "array_nulls": "on",  # off, a null in an array would be the text "null"
    "transform_null_equals": "off",
    "lock_timeout": "0",
    "jit": "off",  # many partitions make a plan look dear, and compiling it takes seconds for milliseconds of work
}
"""``standard_conforming_strings`` is not here: psycopg2 quotes as it found it when it connected, and must find no other
in a transaction."""
_FEATURE_NOT_SUPPORTED = "0A000"


class Opening:
    """The statements that open a transaction of an engine."""

    def __init__(self, statement_timeout: timedelta) -> None:
        milliseconds = statement_timeout // timedelta(milliseconds=1)
        self._settings = {
            **_FIXED,
            "statement_timeout": str(milliseconds),
            # A transaction of ours that stands still must not keep its locks for ever.
            "idle_in_transaction_session_timeout": str(2 * milliseconds),
        }
        self.schema: str | None = None
        """Where our tables are; known once a connection was made."""

    def begin(self, connection: Connection) -> None:
        """Open a transaction; a listener of SQLAlchemy's ``begin``.

        Raises:
            OnlyReadsError: the server is a standby, and the transaction is to write.
        """
        options = connection.get_execution_options()
        if "isolation_level" in options:  # chosen by the caller, such as AUTOCOMMIT for CREATE DATABASE
            return
        try:
            connection.exec_driver_sql(self.statements(options.get(ACCESS, "write"), connection))
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) == _FEATURE_NOT_SUPPORTED:
                raise OnlyReadsError("PostgreSQL takes no writes: it is a standby") from error
            raise

    def statements(self, access: Access, connection: Connection) -> str:
        """All of them, as one text."""
        settings = dict(self._settings)
        if (connection.dialect.server_version_info or (0,)) >= (17,):
            settings["transaction_timeout"] = "0"
        parts = [f"SET TRANSACTION {_CHARACTERISTICS[access]}"]
        parts += [f"SET LOCAL {name} = '{value}'" for name, value in settings.items()]
        # Temporary tables come last: they stand in for nothing.
        parts.append(f"SET LOCAL search_path = {_identifier(self.schema or 'public')}, pg_temp")
        return "; ".join(parts)


def require_in_force(connection: Connection) -> None:
    """See that the statements of a transaction reach the session that its opening has reached.

    Raises:
        UnsuitableDatabaseError: they do not; a pooler hands them to any session.
    """
    held = connection.exec_driver_sql("SELECT current_setting('DateStyle'), current_setting('search_path')").one()
    if held[0] != _FIXED["DateStyle"] or not held[1].endswith(", pg_temp"):
        raise UnsuitableDatabaseError(
            "the pooler before PostgreSQL does not keep a transaction on one connection: set it to transaction mode"
        )


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'
