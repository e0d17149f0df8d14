"""What PostgreSQL says of users: their rows of progress and their unlocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy import Row as ResultRow

from models.cold.connection import statement
from models.cold.event_log import User, columns_of

Key = tuple[str, str]
"""The id of a goal, or of a part of it, and the period."""


@dataclass(slots=True)
class StoredUser:
    """One user's rows, with the columns of ``audit_rows.sql``, and unlocks."""

    rows: "dict[Key, ResultRow[Any]]" = field(default_factory=dict)
    unlocks: set[Key] = field(default_factory=set)

    @property
    def since(self) -> datetime | None:
        """When the first row was made; None where there is none."""
        return min((row.created_at for row in self.rows.values()), default=None)


def read_users(connection: Connection, users: Sequence[User]) -> dict[User, StoredUser]:
    """What these users have, also where that is nothing."""
    known = {user: StoredUser() for user in users}
    for row in connection.exec_driver_sql(statement("audit_rows"), columns_of(users)):
        known[row.tenant_id, row.user_id].rows[row.goal_id, row.period] = row
    for row in connection.exec_driver_sql(statement("audit_unlocks"), columns_of(users)):
        known[row.tenant_id, row.user_id].unlocks.add((row.goal_id, row.period))
    return known
