"""Publications and the versions of goals, for people to read and compare."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, select

from models.database.connection import database_errors
from models.database.tables import rule_publications, rule_versions


class PublicationRecord(NamedTuple):
    """A publication as it is stored."""

    revision: int
    active_from: datetime
    """1970 for the first."""
    published_at: datetime
    source: str
    document: bytes
    """The whole challenges file."""
    versions: dict[str, int]


class VersionRecord(NamedTuple):
    """A version of a goal as it is stored."""

    goal_id: str
    version: int
    definition: dict[str, Any]
    """See ``definitions.py``."""
    policy: str | None
    active_from: datetime | None
    """None where the first release published it, as with ``revision``."""
    published_at: datetime
    revision: int | None


class RuleHistory:
    """Reads what was published.

    Every method raises DatabaseUnavailableError if PostgreSQL did not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def publication(self, revision: int | None = None) -> PublicationRecord | None:
        """A publication by its number, or the newest; None if there is no such."""
        table = rule_publications.c
        wanted = select(*(table[name] for name in PublicationRecord._fields)).order_by(table.revision.desc()).limit(1)
        if revision is not None:
            wanted = wanted.where(table.revision == revision)
        with database_errors(), self._engine.connect() as connection:
            found = connection.execute(wanted).one_or_none()
        return PublicationRecord(*found)._replace(document=found.document.encode()) if found else None

    def versions(self, goal_id: str) -> list[VersionRecord]:
        """All versions of a goal, oldest first."""
        table = rule_versions.c
        wanted = select(*(table[name] for name in VersionRecord._fields)).where(table.goal_id == goal_id)
        with database_errors(), self._engine.connect() as connection:
            return [VersionRecord(*found) for found in connection.execute(wanted.order_by(table.version))]
