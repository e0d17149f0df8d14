"""The reset: shards whose stores are not of one history are brought to one truth.

That is what PostgreSQL has, and what Redis still holds in its log and its journal. All else of the shard in Redis is
void from then on: its records are of an epoch that ended, so users are loaded anew, with the ids of their events. It
may be cut off at any moment and done again, and it may be done needlessly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import uuid4

from sqlalchemy import Connection, Engine

from config.shards import shard_for
from models.database.connection import database_errors
from models.database.fleet.histories import Restart, lock_histories, restart_histories, users_ahead
from models.database.flush.items import ProgressRow
from models.database.flush.tables import PROGRESS
from models.database.repairs import ExtraRow, delete_rows_in
from models.failpoints import failpoint
from models.fleet.histories import DatabaseHistory, FlushMark, Standing, StateHistory, standing
from models.state.event_log import ShardLog
from models.state.fleet.histories import ShardHistories
from models.state.progress.records import Records

_ENTRIES, _USERS, _CORRECTED = 20, 500, 200
"""Log entries, dirty users and users with rows ahead that are dealt with at a time."""

User = tuple[str, str]
"""Tenant and user."""


class Corrections(NamedTuple):
    """What rows of some users must be, by the events that PostgreSQL has."""

    rows: list[ProgressRow]
    extra_rows: list[ExtraRow]
    """Rows that should not exist."""
    left: int
    """Users whose events are no longer all kept: their rows stay as they are."""


class Corrector(Protocol):
    """Computes progress anew."""

    def correct(self, users: Sequence[User]) -> Corrections:
        """Those rows of users that are not what their events say.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        ...


class ResetReport(NamedTuple):
    """What a reset did."""

    shards: list[int]
    entries_returned: int = 0
    """Applied batches that went back to the journal."""
    users_corrected: int = 0
    """Users with rows that were newer than the events in PostgreSQL."""
    users_left: int = 0
    """Of these, those whose events are no longer all kept."""


@dataclass(frozen=True, slots=True)
class ShardResetter:
    """Resets shards."""

    engine: Engine
    """Which may take minutes for a statement, and between two."""
    histories: ShardHistories
    records: Records
    shard_log: ShardLog
    corrector: Corrector
    shards: int
    now_us: Callable[[], int]
    """The clock of the state Redis."""

    def reset(self, shards: Sequence[int], standings: set[Standing]) -> ResetReport:
        """Reset those of these shards that stand so, or whose reset was cut off, as one.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer; doing it again goes on.
            HistoryChangedError: Redis went back once more; likewise.
        """
        with database_errors(), self.engine.begin() as connection:
            database, state = lock_histories(connection, shards), self.histories.read(shards)
            due = [
                shard
                for shard in shards
                if state[shard].is_closed or standing(database[shard], state[shard]) in standings
            ]
            if not due:
                return ResetReport([])
            reset = uuid4().hex
            self.histories.close(due, reset)
            failpoint("reset.closed")
            returned = sum(self._empty(shard, reset) for shard in due)
            failpoint("reset.emptied")
            restarts, corrected, left = self._correct(connection, due, database, state)
            restart_histories(connection, restarts)
        failpoint("reset.committed")
        for restart in restarts:
            flushed = FlushMark(restart.number, restart.token)
            events = database[restart.shard].flushed_events
            self.histories.open(restart.shard, reset, flushed, flushed_events=events, version=restart.version)
        return ResetReport(due, returned, corrected, left)

    def _empty(self, shard: int, reset: str) -> int:
        """Put what a closed shard has applied, and PostgreSQL may lack, back into its journal; returns the entries."""
        returned = 0
        while entries := self.shard_log.read(shard, _ENTRIES):
            returned += self.histories.return_entries(shard, reset, entries, now_ms=self.now_us() // 1000)
        while members := self.records.dirty_members(shard, _USERS):
            self.histories.drop_dirty(shard, reset, members)
        return returned

    def _correct(
        self,
        connection: Connection,
        due: Sequence[int],
        database: Mapping[int, DatabaseHistory],
        state: Mapping[int, StateHistory],
    ) -> tuple[list[Restart], int, int]:
        """Compute anew the rows that are ahead of the events: these may be applied again, and must not count twice."""
        ahead: dict[int, list[User]] = {shard: [] for shard in due}
        highest = {shard: max(database[shard].row_version, version) for shard, version in self._versions(due).items()}
        for tenant_id, user_id, version in users_ahead(connection, min(database[shard].log_version for shard in due)):
            shard = shard_for(tenant_id, user_id, self.shards)
            if shard in ahead and version > database[shard].log_version:
                ahead[shard].append((tenant_id, user_id))
                highest[shard] = max(highest[shard], version)
        restarts = [
            Restart(
                shard,
                max(database[shard].flushed.number, state[shard].flushed.number) + 1,
                uuid4().hex,
                highest[shard] + 1,
            )
            for shard in due
        ]
        left = sum(self._correct_users(connection, ahead[restart.shard], restart.version) for restart in restarts)
        return restarts, sum(map(len, ahead.values())), left

    def _correct_users(self, connection: Connection, users: Sequence[User], version: int) -> int:
        left = 0
        for first in range(0, len(users), _CORRECTED):
            rows, extra_rows, kept = self.corrector.correct(users[first : first + _CORRECTED])
            if rows:
                numbered = [item._replace(row=item.row._replace(record_version=version)) for item in rows]
                PROGRESS.write(connection, sorted(numbered, key=PROGRESS.key))
            delete_rows_in(connection, extra_rows)
            left += kept
        return left

    def _versions(self, due: Sequence[int]) -> dict[int, int]:
        now = self.now_us()  # a counter that is missing begins there
        return {shard: max(version, now) for shard, version in self.histories.versions(due).items()}
