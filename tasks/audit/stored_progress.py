"""What is kept of users: their rows of progress and their unlocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection

from models.database.connection import statement
from models.database.event_log import User, columns_of
from models.rules.calendar import microseconds, to_datetime
from models.rules.operators import progress_of
from models.rules.rows import Row

Key = tuple[str, str]
"""The id of a goal, or of a part of it, and the period."""


class StoredRow(NamedTuple):
    """A row of ``user_goal_progress``, in the order of ``audit_rows.sql``, without the user."""

    goal_id: str
    period: str
    challenge_id: str
    progress: Decimal
    status: str
    rule_version: int
    operator: Any
    state: list[Any]
    slots: list[Any]
    is_part: bool
    reached_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    record_version: int

    def row(self) -> Row:
        """The same as the engines know it."""
        return Row(
            goal_id=self.goal_id,
            period=self.period,
            challenge_id=self.challenge_id,
            operator=self.operator,
            rule_version=self.rule_version,
            record_version=self.record_version,
            completed_at=_us(self.completed_at),
            created_at=microseconds(self.created_at),
            updated_at=microseconds(self.updated_at),
            state=self.state,
            reached_at=_us(self.reached_at),
            version_states=self.slots,
            part=self.is_part,
        )


@dataclass(slots=True)
class StoredUser:
    """One user's rows and unlocks."""

    rows: dict[Key, StoredRow] = field(default_factory=dict)
    unlocks: set[Key] = field(default_factory=set)

    @property
    def since(self) -> datetime | None:
        """When the first row was made; None where there is none."""
        return min((row.created_at for row in self.rows.values()), default=None)


def read_users(connection: Connection, users: Sequence[User]) -> dict[User, StoredUser]:
    """What PostgreSQL has of these users, also where that is nothing."""
    known = {user: StoredUser() for user in users}
    for tenant_id, user_id, *row in connection.exec_driver_sql(statement("audit_rows"), columns_of(users)):
        found = StoredRow(*row)
        known[tenant_id, user_id].rows[found.goal_id, found.period] = found
    unlocks = connection.exec_driver_sql(statement("audit_unlocks"), columns_of(users))
    for tenant_id, user_id, goal_id, period in unlocks:
        known[tenant_id, user_id].unlocks.add((goal_id, period))
    return known


def as_stored(row: Row) -> StoredRow:
    """A row as it would be read back from PostgreSQL."""
    return StoredRow(
        goal_id=row.goal_id,
        period=row.period,
        challenge_id=row.challenge_id,
        progress=Decimal(str(progress_of(row))),  # by way of text: a float's own digits are what is stored
        status="completed" if row.completed_at else "in_progress",
        rule_version=row.rule_version,
        operator=row.operator,
        state=orjson.loads(orjson.dumps(row.state)),
        slots=orjson.loads(orjson.dumps(row.version_states)),
        is_part=row.part,
        reached_at=_datetime(row.reached_at),
        completed_at=_datetime(row.completed_at),
        created_at=to_datetime(row.created_at),
        updated_at=to_datetime(row.updated_at),
        record_version=row.record_version,
    )


def _us(at: datetime | None) -> int:
    return 0 if at is None else microseconds(at)


def _datetime(at_us: int) -> datetime | None:
    return to_datetime(at_us) if at_us else None
