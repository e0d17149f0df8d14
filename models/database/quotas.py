"""Quotas in PostgreSQL: the table ``quotas``.

A tenant without a row has that of the settings, a key has none.
"""

from sqlalchemy import Engine

from models.access.quotas import Quota
from models.database.connection import database_errors, statement


def read_quotas(engine: Engine) -> dict[str, Quota]:
    """Every quota of its own, by the name of its owner (``models.access.quotas``).

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer, or has not the table yet.
    """
    with database_errors(), engine.connect() as connection:
        rows = connection.exec_driver_sql(statement("read_quotas"))
        return {row.owner: Quota(row.events_per_second, row.bytes_per_day) for row in rows}


def write_quota(engine: Engine, owner: str, quota: Quota) -> None:
    """Give an owner a quota instead of the one it had; for a tenant, what it does not say is that of the settings.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql(statement("write_quota"), {"owner": owner, **quota._asdict()})


def drop_quota(engine: Engine, owner: str) -> bool:
    """Let the settings hold again; tells whether there was a quota.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        return bool(connection.exec_driver_sql(statement("drop_quota"), {"owner": owner}).rowcount)
