"""The last flush of each shard in PostgreSQL.

By it ``models/fleet/histories.py`` tells which store went back in time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from models.database.connection import database_errors, statement
from models.fleet.histories import DatabaseHistory, FlushMark


class ShardFlush(NamedTuple):
    """What a flush brings to PostgreSQL of one shard, beside the rows themselves."""

    shard: int
    token: str
    log_version: int
    """Every event that was applied up to this version is written by then."""
    row_version: int
    """The highest version of a row that it writes."""
    events: int


class Restart(NamedTuple):
    """Where the history of a shard goes on after a reset."""

    shard: int
    number: int
    token: str
    version: int
    """Above all that was ever drawn for the shard."""


def read_histories(engine: Engine, shards: Sequence[int]) -> dict[int, DatabaseHistory]:
    """The last flush of each of these shards.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.connect() as connection:
        return _found(connection, "read_histories", {"shards": list(shards)})


def lock_histories(connection: Connection, shards: Sequence[int]) -> dict[int, DatabaseHistory]:
    """The last flush of some shards, which no other transaction changes before this one ends."""
    parameters = {"shards": sorted(shards)}
    found = _found(connection, "lock_histories", parameters)
    if len(found) < len(shards):  # the first flush of a shard
        connection.exec_driver_sql(statement("insert_histories"), parameters)
        found = _found(connection, "lock_histories", parameters)
    return found


def write_histories(connection: Connection, flushes: Sequence[ShardFlush]) -> None:
    """Note the flush of shards that are locked, with all the rest of it."""
    connection.exec_driver_sql(statement("update_histories"), _columns(ShardFlush._fields, flushes))


def restart_histories(connection: Connection, restarts: Sequence[Restart]) -> None:
    """Let shards that are locked go on from a reset."""
    connection.exec_driver_sql(statement("restart_histories"), _columns(Restart._fields, restarts))


def users_ahead(connection: Connection, version: int) -> list[tuple[str, str, int]]:
    """All users with rows above a version, each with the highest: (tenant, user, version). Reads every row."""
    found = connection.exec_driver_sql(statement("users_ahead"), {"version": version})
    return [(row.tenant_id, row.user_id, row.version) for row in found]


def _columns(names: Sequence[str], items: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return dict(zip(names, map(list, zip(*items, strict=True)), strict=True))


def _found(connection: Connection, name: str, parameters: Mapping[str, list[int]]) -> dict[int, DatabaseHistory]:
    return {
        row.shard: DatabaseHistory(
            flushed=FlushMark(row.flush_number, row.flush_token),
            log_version=row.log_version,
            row_version=row.row_version,
            flushed_events=row.flushed_events,
            event_rate=row.event_rate,
            silent_seconds=float(row.silent_seconds),
            rules=row.rules,
        )
        for row in connection.exec_driver_sql(statement(name), dict(parameters))
    }
