"""The product's role and database in the embedded PostgreSQL.

Made, or brought to what they must be, at every start, so that changed settings are honoured and a folder of an older
release is taken up. The role is no superuser: it owns what it made, and reads and writes nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor

from config.settings import Settings
from models.database.server.waiting import PatientConnection, open_connection
from models.errors import ConfigurationError, ServiceFailedError
from tools.local.servers.embedded_postgres import ADMINISTRATOR

_PATIENCE_S = 30.0
_RIGHTS = "LOGIN NOSUPERUSER CREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
"""It may make databases: a backup is restored into one beside that in use."""
_OWNERS_BEFORE = """
    SELECT DISTINCT r.rolname FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.relname = 'user_goal_progress' AND r.rolname NOT IN (%s, %s)
"""


def ensure_database(administrator_url: str, settings: Settings) -> None:
    """Make the role and its database where missing, and give the role its password, its rights and its tables.

    Raises:
        ConfigurationError: ``DB_USER`` is the administrator's name.
        ServiceFailedError: the server refuses.
    """
    user, name = settings.db_user, settings.db_name
    if user == ADMINISTRATOR:
        raise ConfigurationError(f"DB_USER: {ADMINISTRATOR} is the embedded PostgreSQL's own; choose another")
    try:
        with _connected(administrator_url) as connection, connection.cursor() as asking:
            _ensure_role(asking, user, settings.db_password)
            _ensure_owner(asking, name, user)
        with _connected(administrator_url, dbname=name) as connection, connection.cursor() as asking:
            _hand_over(asking, user)
    except psycopg2.Error as error:
        raise ServiceFailedError(f"DB_USER or DB_NAME cannot be used: {_line(error)}") from error


def postgres_fault(url: str) -> str | None:
    """Why the database at this URL cannot be used now; ``None`` where it answers."""
    try:
        open_connection(url, patience_s=3.0).close()
    except psycopg2.Error as error:
        return _line(error)
    return None


@contextmanager
def _connected(url: str, **options: str) -> Iterator[PatientConnection]:
    connection = open_connection(url, patience_s=_PATIENCE_S, **options)
    try:
        connection.autocommit = True
        yield connection
    finally:
        connection.close()


def _ensure_role(asking: cursor, user: str, password: str) -> None:
    asking.execute("SELECT FROM pg_roles WHERE rolname = %s", (user,))
    verb = sql.SQL("CREATE" if asking.fetchone() is None else "ALTER")
    statement = sql.SQL("{} ROLE {} " + _RIGHTS + " PASSWORD {}")
    asking.execute(statement.format(verb, sql.Identifier(user), sql.Literal(password)))


def _ensure_owner(asking: cursor, name: str, user: str) -> None:
    database, owner = sql.Identifier(name), sql.Identifier(user)
    asking.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
    if asking.fetchone() is None:
        asking.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    else:
        asking.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))


def _hand_over(asking: cursor, user: str) -> None:
    """Give the role what the one of settings before has made, where ``DB_USER`` has changed."""
    asking.execute(_OWNERS_BEFORE, (user, ADMINISTRATOR))
    for (other,) in asking.fetchall():
        asking.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(sql.Identifier(other), sql.Identifier(user)))


def _line(error: psycopg2.Error) -> str:
    return " ".join(str(error).split())
