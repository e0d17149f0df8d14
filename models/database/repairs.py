"""Repairs in PostgreSQL itself: extra rows go, missing completions are added."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from models.database.connection import database_errors, statement
from models.database.event_log import User, columns_of
from models.database.flush.tables import UNLOCKS
from models.rules.rows import Unlock


class ExtraRow(NamedTuple):
    """A row that should not exist, as it was looked at."""

    tenant_id: str
    user_id: str
    goal_id: str
    period: str
    record_version: int


def delete_rows(engine: Engine, rows: Sequence[ExtraRow]) -> int:
    """Delete rows that have not been written since they were looked at; returns how many.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        return delete_rows_in(connection, rows)


def delete_rows_in(connection: Connection, rows: Sequence[ExtraRow]) -> int:
    """The same within a transaction."""
    if not rows:
        return 0
    columns = dict(zip(ExtraRow._fields, map(list, zip(*rows, strict=True)), strict=True))
    return connection.exec_driver_sql(statement("delete_progress"), columns).rowcount


def add_unlocks(engine: Engine, unlocks: Sequence[Unlock]) -> None:
    """Record completions that are missing; one that is there by now stays as it is (promise P8).

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    if unlocks:
        with database_errors(), engine.begin() as connection:
            UNLOCKS.write(connection, sorted(unlocks, key=UNLOCKS.key))


def rejudge_events(engine: Engine, columns: Mapping[str, Sequence[str | int]]) -> int:
    """Give events the revision that they are to be judged by; returns how many were changed.

    Args:
        engine: the database.
        columns: the arrays of ``rejudge_events.sql``.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        return connection.exec_driver_sql(statement("rejudge_events"), dict(columns)).rowcount


def users_with_dead_events(connection: Connection, users: Sequence[User]) -> set[User]:
    """Those of some users who have accepted events that PostgreSQL refused, so that the log lacks them."""
    found = connection.exec_driver_sql(statement("users_with_dead_events"), columns_of(users))
    return {(tenant_id, user_id) for tenant_id, user_id in found}
