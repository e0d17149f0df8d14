"""The installation's record: the one row of ``installation_settings``."""

from typing import NamedTuple

from sqlalchemy import Connection, Engine

from models.database.connection import database_errors
from models.database.partitions import EVENTS, partition_names
from models.fleet.installation import InstallationRecord, read_record


class InstallationTable:
    """The table ``installation_settings``. Every method may raise ``DatabaseUnavailableError``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> InstallationRecord | None:
        """The record; None where there is none yet."""
        with database_errors(), self._engine.connect() as connection:
            return _read(connection)

    def create(self, record: InstallationRecord) -> InstallationRecord:
        """Write the record if there is none; returns the one that holds, which was the first."""
        with database_errors(), self._engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO installation_settings (installation_id, revision, record) VALUES (%s, %s, %s)"
                " ON CONFLICT (only_row) DO NOTHING",
                (record.installation_id, record.revision, record.to_json()),
            )
            return _read(connection) or record

    def replace(self, record: InstallationRecord, *, over: int) -> bool:
        """Put a record instead of that of revision ``over``; tells whether it still had this revision."""
        with database_errors(), self._engine.begin() as connection:
            done = connection.exec_driver_sql(
                "UPDATE installation_settings SET revision = %s, record = %s, changed_at = now()"
                " WHERE installation_id = %s AND revision = %s",
                (record.revision, record.to_json(), record.installation_id, over),
            )
            return done.rowcount == 1


def _read(connection: Connection) -> InstallationRecord | None:
    found = connection.exec_driver_sql("SELECT record::text FROM installation_settings").scalar_one_or_none()
    return None if found is None else read_record(found)


class UserShard(NamedTuple):
    """A user whose shard is known from what is stored."""

    tenant_id: str
    user_id: str
    shard: int


def last_user_shards(engine: Engine, limit: int) -> list[UserShard]:
    """Some of the events that were applied last, by the newest day that has any: older ones may be of another layout.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer, or has no tables yet.
    """
    newest_first = [name for name in reversed(partition_names(engine)) if name.startswith(EVENTS)]
    with database_errors(), engine.connect() as connection:
        for name in newest_first:
            rows = connection.exec_driver_sql(
                f"SELECT tenant_id, user_id, shard FROM {name} ORDER BY applied_at DESC LIMIT %s",  # noqa: S608 - PostgreSQL named it
                (limit,),
            ).all()
            if rows:
                return [UserShard(*row) for row in rows]
    return []
