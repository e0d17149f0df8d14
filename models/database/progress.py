"""Users' progress in PostgreSQL, for loading cold records and for the API."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import Row as ResultRow

from models.database.connection import database_errors, statement
from models.events import identity_hash, remembered_for
from models.rules.calendar import microseconds, microseconds_of, oldest_periods, to_datetime
from models.rules.rows import Row, Snapshot

_KEY_LENGTHS = {"oldest_day": 10, "oldest_week": 8, "oldest_month": 7}
"""The statements' bounds by the length of a period's key."""


class ProgressReader:
    """Reads users' rows and recent event ids."""

    def __init__(self, engine: Engine, *, window: timedelta) -> None:
        self._engine = engine
        self._window = window

    def snapshots(self, users: Sequence[tuple[str, str]], *, now_us: int) -> list[Snapshot]:
        """What a cold record needs, for all these (tenant, user) in one query (promise P7).

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        known = [Snapshot(tenant_id, user_id, [], []) for tenant_id, user_id in users]
        applied_since = to_datetime(now_us) - remembered_for(self._window)
        parameters = {
            "tenant_id": [tenant_id for tenant_id, _ in users],
            "user_id": [user_id for _, user_id in users],
            "applied_since": applied_since,
            "occurred_since": applied_since - self._window,
        } | self._oldest(now_us)
        with database_errors(), self._engine.connect() as connection:
            for found in connection.exec_driver_sql(statement("hydrate_users"), parameters):
                snapshot = known[found.position - 1]
                if found.event_ids is None:
                    snapshot.rows.append(_row(found))
                else:
                    snapshot.hashes.extend(identity_hash(event_id) for event_id in found.event_ids)
        return known

    def rows(self, tenant_id: str, user_id: str, *, now_us: int) -> list[Row]:
        """A user's rows, those of old periods left out.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        parameters = {"tenant_id": tenant_id, "user_id": user_id} | self._oldest(now_us)
        with database_errors(), self._engine.connect() as connection:
            return [_row(found) for found in connection.exec_driver_sql(statement("read_progress"), parameters)]

    def _oldest(self, now_us: int) -> dict[str, str]:
        oldest = oldest_periods(now_us, microseconds_of(self._window))
        return {name: oldest[length] for name, length in _KEY_LENGTHS.items()}


def _row(found: "ResultRow[Any]") -> Row:
    return Row(
        goal_id=found.goal_id,
        period=found.period,
        challenge_id=found.challenge_id,
        operator=found.operator,
        rule_version=found.rule_version,
        record_version=found.record_version,
        completed_at=_us(found.completed_at),
        created_at=_us(found.created_at),
        updated_at=_us(found.updated_at),
        state=found.state,
        reached_at=_us(found.reached_at),
        version_states=found.version_states,
        part=found.is_part,
    )


def _us(at: datetime | None) -> int:
    return 0 if at is None else microseconds(at)
