"""The event log as audit and replay read it.

Every event once, user by user, in the order of applying.

All of it comes from one snapshot of PostgreSQL, a few thousand events at a time, however many there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Engine, select
from sqlalchemy import Row as ResultRow

from models.database.connection import database_errors, statement, with_access
from models.database.partitions import EVENTS
from models.database.tables import rule_publications
from models.events import Event
from models.rules.calendar import microseconds

User = tuple[str, str]
"""Tenant and user."""
_FETCHED = 2_000
_FIRST_PARTITION = (
    "SELECT min(c.relname) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'events'::regclass AND c.relname ~ '^events_[0-9]{8}$'"
)


class Logged(NamedTuple):
    """An event of the log."""

    event: Event
    revision: int | None
    """The newest publication of rules that was known when it was applied; None where it was not noted."""
    applied_at: int


class PublicationTime(NamedTuple):
    """When a publication was made, and from when on it holds."""

    revision: int
    active_from: int
    published_at: int
    """By PostgreSQL's clock, when the transaction began that made it."""


class EventLog:
    """The log as it stands in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def count(self, *, since: datetime | None = None, until: datetime | None = None) -> int:
        """How many events ``events`` yields."""
        parameters = {"since": since, "until": until}
        return int(self.connection.exec_driver_sql(statement("replay_count"), parameters).scalar_one())

    def events(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[Logged]:
        """All events, or those that happened from ``since`` on and before ``until``."""
        # The keys are in order already, but the planner may hold sorting everything to be cheaper on a small log.
        self.connection.exec_driver_sql("SET LOCAL enable_sort = off")
        return map(_logged, self._stream("replay_events", {"since": since, "until": until}))

    def events_of(self, users: Sequence[User]) -> Iterator[Logged]:
        """The events of some users; one without events does not appear."""
        return map(_logged, self._stream("audit_events", columns_of(users)))

    def sample(self, number: int) -> list[User]:
        """Users drawn at random; all of them where there are no more."""
        found = self.connection.exec_driver_sql(statement("audit_sample"), {"number": number})
        return [(tenant_id, user_id) for tenant_id, user_id in found]

    def users_without_events(self) -> Iterator[User]:
        """Users who have progress or unlocks all the same."""
        return ((found.tenant_id, found.user_id) for found in self._stream("audit_eventless", {}))

    def kept_since(self) -> datetime | None:
        """The first day that there is a partition for; None where there is none."""
        name = self.connection.exec_driver_sql(_FIRST_PARTITION).scalar_one()
        return datetime.strptime(name, f"{EVENTS}_%Y%m%d").replace(tzinfo=UTC) if name else None

    def publication_times(self) -> list[PublicationTime]:
        """All publications, by their revisions."""
        table = rule_publications.c
        found = select(table.revision, table.active_from, table.published_at).order_by(table.revision)
        return [
            PublicationTime(revision, microseconds(active_from), microseconds(published_at))
            for revision, active_from, published_at in self.connection.execute(found)
        ]

    def _stream(self, name: str, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        options = {"stream_results": True, "yield_per": _FETCHED}
        return self.connection.exec_driver_sql(statement(name), dict(parameters), execution_options=options)


@contextmanager
def open_log(engine: Engine) -> Iterator[EventLog]:
    """The log in one snapshot: nothing that is committed later is seen.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), with_access(engine, "snapshot").connect() as connection:
        yield EventLog(connection)


def columns_of(users: Sequence[User]) -> dict[str, list[str]]:
    """Users as the two arrays that statements take."""
    return {"tenant_id": [tenant_id for tenant_id, _ in users], "user_id": [user_id for _, user_id in users]}


def _logged(found: "ResultRow[Any]") -> Logged:
    event = Event(
        found.event_id,
        found.event_type,
        found.tenant_id,
        found.user_id,
        found.occurred_at,
        found.accepted_at,
        found.value,
        found.increment,
        found.source,
        (found.payload or "").encode(),
        found.timezone,
        (found.attributes or "").encode(),
    )
    return Logged(event, found.rules_revision, found.applied_at)
