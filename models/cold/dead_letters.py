"""What could not be processed, kept in PostgreSQL with its reason (promise P10)."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from models.cold.connection import statement


class DeadLetter(NamedTuple):
    """Something that could not be processed."""

    kind: str
    reason: str
    error: str
    raw: bytes
    event_ids: list[str]
    tenant_id: str | None = None
    user_id: str | None = None
    shard: int | None = None
    batch_id: str | None = None
    attempts: int = 1


def insert_dead_letters(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Add dead letters to a transaction."""
    for letter in letters:
        connection.exec_driver_sql(statement("insert_dead_letter"), letter._asdict())
