"""What could not be processed, kept in PostgreSQL with its reason (promise P10)."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection

from models.database.connection import statement


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
    task: str | None = None
    """The name of the Celery task."""
    exception: str | None = None
    """The type of the exception."""
    traceback: str | None = None

    @property
    def fingerprint(self) -> bytes:
        """The same for the same fault of the same thing: such dead letters are one, with their attempts added up."""
        return fingerprint_of(self.kind, self.reason, self.raw)


def fingerprint_of(kind: str, reason: str, raw: bytes) -> bytes:
    """What tells dead letters apart."""
    return sha256(b"\0".join((kind.encode(), reason.encode(), raw))).digest()


def insert_dead_letters(connection: Connection, dead_letters: Sequence[DeadLetter]) -> None:
    """Add dead letters to a transaction."""
    for dead_letter in dead_letters:
        values = {name: _storable(value) for name, value in dead_letter._asdict().items()}
        values["fingerprint"] = dead_letter.fingerprint
        connection.exec_driver_sql(statement("insert_dead_letter"), values)


def _storable(value: Any) -> Any:
    """Texts of garbage may hold what PostgreSQL's texts cannot; a dead letter must not fail by that."""
    if isinstance(value, str):
        return value.replace("\0", "\\0").encode(errors="backslashreplace").decode()
    return [_storable(one) for one in value] if isinstance(value, list) else value
