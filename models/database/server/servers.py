"""Checks each connection's server: release, and an encoding for every text.

It costs nothing: a server says its version and encoding when it is connected to, and a pooler passes that on.
"""

from contextlib import suppress

import psycopg2

from models.database.server.transactions import Opening
from models.database.server.waiting import PatientConnection, open_connection
from models.errors import UnsuitableDatabaseError

OLDEST = 13
"""The oldest release of PostgreSQL that is supported."""
_HOST_PATIENCE_S = 30
"""How long PostgreSQL's host may leave what was sent to it unacknowledged before a connection counts as broken."""
_TRANSPORT = {
    "client_encoding": "UTF8",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": _HOST_PATIENCE_S * 1000,  # keepalives rest while data is under way
}
# What a release without a fixed search path would have used comes first; else what one with it has made.
_SCHEMA = """
    SELECT coalesce(
        (SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relname = 'user_goal_progress' AND pg_catalog.pg_table_is_visible(c.oid)),
        (SELECT n.nspname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relname = 'user_goal_progress' AND n.nspname = 'public'),
        pg_catalog.current_schema(), 'public'
    )
"""


def open_suitable(url: str, opening: Opening, *, application: str, patience_s: float | None) -> PatientConnection:
    """A connection that can be used; ``opening`` learns where our tables are.

    Raises:
        UnsuitableDatabaseError: the server, the database or the pooler cannot be used as it is.
        psycopg2.OperationalError: it cannot be connected to.
    """
    connection = open_connection(url, patience_s=patience_s, application_name=application, **_TRANSPORT)
    try:
        _require_suitable(connection)
        if opening.schema is None:
            opening.schema = _schema(connection)
    except BaseException:
        with suppress(psycopg2.Error):
            connection.close()
        raise
    return connection


def _require_suitable(connection: PatientConnection) -> None:
    major, encoding = connection.server_version // 10_000, connection.get_parameter_status("server_encoding")
    if major < OLDEST:
        raise UnsuitableDatabaseError(f"PostgreSQL is release {major}, and must be {OLDEST} or newer")
    if encoding != "UTF8":
        raise UnsuitableDatabaseError(
            f"PostgreSQL's database is in {encoding}, and must be in UTF8: make one by "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def _schema(connection: PatientConnection) -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_SCHEMA)
            ((schema,),) = cursor.fetchall()
        connection.rollback()
    except psycopg2.Error as error:
        if "statement pooling" in str(error):  # pgbouncer's words; it has no code for it
            raise UnsuitableDatabaseError(
                "the pooler before PostgreSQL is in statement mode: set pool_mode to transaction or session"
            ) from error
        raise
    return str(schema)
