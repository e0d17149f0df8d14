"""What a flush reads of a shard: the oldest entries of its log, and then the progress of all their users.

So PostgreSQL gets no event, and with it its id, without progress that contains it, however many users wait: else a
Redis that is wiped then would take the effect with it, and sending the event again would not bring it back. A user
whose other entries wait for a later transaction is not written ahead of them either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from models.fleet.histories import DatabaseHistory
from models.fleet.probes import is_probe
from models.rules.calendar import microseconds_of, oldest_periods
from models.state.event_log import LogEntry, ShardLog
from models.state.fleet.histories import Beginning, ShardHistories
from models.state.flush_reads import ReadTrace
from models.state.keys import member
from models.state.progress.records import DirtyRecord, Records

LOG_ENTRIES = 40
"""Applied batches read of a shard at a time: up to 10,000 events."""
LOG_PAGE = 5
"""Of those, read in one round trip: where few hold many users, little is read in vain."""

log = structlog.get_logger()


@dataclass(slots=True)
class ShardWork:
    """What was read of one shard. ``more`` tells that the shard held more than was read."""

    shard: int
    entries: list[LogEntry]
    records: list[DirtyRecord]
    read_us: int
    more: bool
    trace: ReadTrace
    log_version: int
    """Every event that was applied up to this version is in these entries, or was flushed before."""

    @property
    def events(self) -> int:
        """How many events it brings to PostgreSQL; probes are none."""
        return sum(not is_probe(event) for entry in self.entries for event in entry.events)

    @property
    def row_version(self) -> int:
        """The highest version of a row that was read; 0 without one."""
        return max((row.stamp for record in self.records for row in record.rows), default=0)


@dataclass(frozen=True, slots=True)
class ShardReader:
    """Reads shards for transactions of about ``users`` users each."""

    records: Records
    shard_log: ShardLog
    users: int
    window: timedelta
    now_us: Callable[[], int]

    def read(self, shard: int) -> ShardWork:
        """Read entries and the progress of their users; that of others too, once no entry is left behind.

        Raises:
            StateUnavailableError: the state Redis did not answer.
            HistoryChangedError: it went back in time meanwhile.
        """
        trace = ReadTrace(shard)
        entries, users, whole_at = self._entries(shard, trace)
        is_whole = whole_at is not None
        members = self.records.dirty_among(shard, users)
        if is_whole:
            members = list(dict.fromkeys([*members, *self.records.dirty_members(shard, self.users)]))
        read_us = self.now_us()
        oldest = oldest_periods(read_us, microseconds_of(self.window))
        records = self.records.read_dirty(shard, members, trace, oldest=oldest)
        lost = sum(record.is_lost for record in records)
        if len(records) < len(members):
            lost += self.records.forget_lost(shard, members)
        if lost:
            log.error("dirty_records_lost", shard=shard, users=lost)
        log_version = entries[-1].stamp if whole_at is None else whole_at
        if self._may_be_gone(users, records) and not self.shard_log.holds(shard, entries[-1]):
            entries = []
        more = not is_whole or len(members) >= self.users
        return ShardWork(shard, entries, records, read_us, more, trace, log_version)

    def _entries(self, shard: int, trace: ReadTrace) -> tuple[list[LogEntry], list[str], int | None]:
        """Entries until they are of so many users, which the last may pass; their users; if these are all entries, the
        shard's version then.
        """
        entries: list[LogEntry] = []
        users: dict[str, None] = {}  # a set that keeps its order
        while len(entries) < LOG_ENTRIES:
            after = entries[-1].entry_id if entries else None
            page, version = self.shard_log.read_for_flush(shard, LOG_PAGE, trace, after=after)
            for entry in page:
                if len(users) >= self.users:
                    return entries, list(users), None
                entries.append(entry)
                users |= dict.fromkeys(member(event.tenant_id, event.user_id) for event in entry.events)
            if len(page) < LOG_PAGE:
                return entries, list(users), version
        return entries, list(users), None

    @staticmethod
    def _may_be_gone(users: list[str], records: list[DirtyRecord]) -> bool:
        """Whether another flush may have committed the entries, or Redis have been wiped, since they were read.

        Who is clean, and whose entry is in the log still, was committed with it by a flush that was cut off then.
        """
        found = {record.member for record in records}
        return any(user not in found for user in users)


@dataclass(frozen=True, slots=True)
class FlushGate:
    """Lets a flush be written only over what Redis knows, and only if Redis still has what was read of it."""

    histories: ShardHistories
    works: Sequence[ShardWork]

    def admit(self, found: Mapping[int, DatabaseHistory]) -> None:
        """See ``models.database.fleet.histories.Gate``."""
        self.histories.begin(
            [
                Beginning(
                    work.shard,
                    work.trace,
                    found[work.shard].flushed,
                    found[work.shard].flushed_events + work.events,
                    found[work.shard].rules,
                )
                for work in self.works
            ]
        )
