"""A schema for progress computed anew, beside the live tables."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import Connection, Engine

from models.database.connection import database_errors, statement
from models.database.flush.items import ProgressRow
from models.database.flush.tables import PROGRESS, UNLOCKS
from models.errors import ConfigurationError
from models.rules.rows import Unlock
from tasks.audit.replay import Replayed

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TABLES = ("user_goal_progress", "unlocks")
_MARK = "written by questline replay"
_BATCH = 2_000
_FETCHED = 5_000


def check_name(schema: str) -> None:
    """Refuse a name that cannot be a sandbox's.

    Raises:
        ConfigurationError: it is no plain name, or belongs to the product or to PostgreSQL.
    """
    if not _NAME.fullmatch(schema):
        raise ConfigurationError(
            f"--into: {schema!r} must be up to 63 of the characters a-z, 0-9 and _, and not begin with a digit"
        )
    if schema in ("public", "information_schema") or schema.startswith("pg_"):
        raise ConfigurationError(f"--into: {schema!r} is not a schema of replays")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A schema with the tables ``user_goal_progress`` and ``unlocks``."""

    engine: Engine
    schema: str

    @property
    def _quoted(self) -> str:
        """The name as statements spell it: some plain words mean something to SQL."""
        return f'"{self.schema}"'

    def make(self, *, drop: bool) -> None:
        """Create the schema and its empty tables; ``drop``: instead of those of an earlier replay.

        Raises:
            ConfigurationError: the schema is there, and is not to be dropped or was not made by a replay.
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        with database_errors(), self.engine.begin() as connection:
            mark = self._mark(connection)
            if mark is not None and not drop:
                raise ConfigurationError(f"--into: the schema {self.schema} exists; name another, or add --drop")
            if mark not in (None, _MARK):
                raise ConfigurationError(f"--into: the schema {self.schema} was not made by a replay")
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {self._quoted} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {self._quoted}")
            connection.exec_driver_sql(f"COMMENT ON SCHEMA {self._quoted} IS '{_MARK}'")
            for table in _TABLES:
                connection.exec_driver_sql(f"CREATE TABLE {self._quoted}.{table} (LIKE {table} INCLUDING ALL)")

    def write(self, users: Iterable[Replayed]) -> tuple[int, int]:
        """Write what users must have, all or nothing; returns the number of rows and of unlocks."""
        written = [0, 0]
        with database_errors(), self.engine.begin() as connection:
            self._enter(connection)
            progress: list[ProgressRow] = []
            unlocks: list[Unlock] = []
            for replayed in chain(users, [None]):
                if replayed is not None:
                    progress += [ProgressRow(*replayed.user, row) for row in replayed.rows.values()]
                    unlocks += replayed.unlocks
                if progress and (replayed is None or len(progress) >= _BATCH):
                    PROGRESS.write(connection, progress)
                    written[0] += len(progress)
                    progress = []
                if unlocks and (replayed is None or len(unlocks) >= _BATCH):
                    UNLOCKS.write(connection, unlocks)
                    written[1] += len(unlocks)
                    unlocks = []
        return written[0], written[1]

    def digest(self) -> str:
        """The SHA-256 of all that was written but versions and processing times, whatever the order it came in."""
        digest = sha256()
        options = {"stream_results": True, "yield_per": _FETCHED}
        with database_errors(), self.engine.begin() as connection:
            self._enter(connection)
            for table in _TABLES:
                digest.update(f"{table}\n".encode())
                name = f"replay_{table}"
                for row in connection.exec_driver_sql(statement(name), execution_options=options):
                    digest.update(_line(row))
        return digest.hexdigest()

    def _enter(self, connection: Connection) -> None:
        """From here on the tables' names mean ours."""
        connection.exec_driver_sql(f"SET LOCAL search_path TO {self._quoted}")

    def _mark(self, connection: Connection) -> str | None:
        """The comment of the schema, empty without one; None where there is no such schema."""
        found = connection.exec_driver_sql(
            "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = %s",
            (self.schema,),
        )
        return found.scalar_one_or_none()


def _line(row: Iterable[Any]) -> bytes:
    return orjson.dumps(list(row), default=str, option=orjson.OPT_SORT_KEYS) + b"\n"
