"""A run's events and progress in PostgreSQL, polled until a deadline."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from time import monotonic, sleep
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text

from models.database.connection import connect_database, database_errors
from models.errors import DatabaseUnavailableError
from tools.loadtest.generator import Plan

_POLL_SECONDS = 0.1

_COUNT = text("SELECT count(*) FROM events WHERE tenant_id = :tenant AND user_id LIKE :users")
_EVENTS = text(
    "SELECT event_id, count(*), max(rules_revision) FROM events"
    " WHERE tenant_id = :tenant AND user_id LIKE :users GROUP BY event_id"
)
_PROGRESS = text(
    "SELECT user_id, goal_id, period, progress, status FROM user_goal_progress"
    " WHERE tenant_id = :tenant AND user_id LIKE :users"
)


class StoredEvent(NamedTuple):
    """What is known of an event id."""

    times: int
    """How often it is there; once is right."""
    revision: int | None
    """The newest publication of rules that was known when it was applied."""


class RowKey(NamedTuple):
    """What names a row of progress within a tenant."""

    user_id: str
    goal_id: str
    period: str


class RowValue(NamedTuple):
    """What a row of progress says."""

    progress: Decimal
    completed: bool


class StoredRun:
    """What PostgreSQL holds of a run, asked until a deadline. It may be away in between."""

    def __init__(self, plan: Plan, database_url: str, *, deadline: float) -> None:
        self._engine = connect_database(database_url, pool_size=1, application="questline load-test")
        self._scope = {"tenant": plan.tenant_id, "users": f"{plan.user_prefix}%"}
        self._deadline = deadline

    def close(self) -> None:
        """Let go of PostgreSQL."""
        self._engine.dispose()

    def event_counts(self) -> Iterator[tuple[float, int]]:
        """How many events there are, with the time of asking; again and again until the deadline."""
        for asked in self._polls():
            yield asked, self._ask(_COUNT)[0][0]

    def events(self) -> dict[str, StoredEvent]:
        """The events, by their ids."""
        return {event_id: StoredEvent(count, revision) for event_id, count, revision in self._ask(_EVENTS)}

    def progress(self) -> Iterator[tuple[float, dict[RowKey, RowValue]]]:
        """The rows of progress, with the time of asking; again and again until the deadline."""
        for asked in self._polls():
            yield (
                asked,
                {
                    RowKey(user_id, goal_id, period): RowValue(progress, status == "completed")
                    for user_id, goal_id, period, progress, status in self._ask(_PROGRESS)
                },
            )

    def _polls(self) -> Iterator[float]:
        """Times to ask at: one at least, the last one after the deadline."""
        while True:
            asked = monotonic()
            yield asked
            if asked > self._deadline:
                return
            # Asking must not disturb what is measured: it takes at most a tenth of the time.
            sleep(max(_POLL_SECONDS, 9 * (monotonic() - asked)))

    def _ask(self, query: TextClause) -> Sequence[Any]:
        while True:
            try:
                with database_errors(), self._engine.connect() as connection:
                    return connection.execute(query, self._scope).all()
            except DatabaseUnavailableError:
                if monotonic() > self._deadline:
                    raise
            sleep(_POLL_SECONDS)
