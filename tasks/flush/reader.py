"""Reads what a flush writes, and acknowledges it afterwards (promise P6).

Of a shard it reads the oldest entries of the log, and then the progress of all their users. So PostgreSQL gets no
event, and with it its id, without progress that contains it, however many users wait: else a Redis that is wiped then
would take the effect with it, and sending the event again would not bring it back. A user whose other entries wait for
a later transaction is not written ahead of them either.
"""

from collections.abc import Callable, Sequence
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
    events: int
    """How many events it brings to PostgreSQL; probes are none."""

    def beginning(self, found: DatabaseHistory) -> Beginning:
        """What Redis is told of it, before it is written over what PostgreSQL has."""
        return Beginning(self.shard, self.trace, found.flushed, found.flushed_events + self.events, found.rules)

    @property
    def row_version(self) -> int:
        """The highest version of a row that was read; 0 without one."""
        return max((row.record_version for record in self.records for row in record.rows), default=0)


@dataclass(frozen=True, slots=True)
class ShardChanges:
    """What shards have that PostgreSQL lacks, for transactions of about ``users`` users each."""

    records: Records
    shard_log: ShardLog
    histories: ShardHistories
    users: int
    window: timedelta
    now_us: Callable[[], int]

    def busy(self, shards: int) -> list[int]:
        """The shards that have any; raises StateUnavailableError."""
        dirty, logged = self.records.dirty_counts(shards), self.shard_log.lengths(shards)
        return [shard for shard in range(shards) if dirty[shard] or logged[shard]]

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
        log_version = entries[-1].record_version if whole_at is None else whole_at
        if self._may_be_gone(users, records) and not self.shard_log.holds(shard, entries[-1]):
            entries = []
        more = not is_whole or len(members) >= self.users
        events = sum(not is_probe(event) for entry in entries for event in entry.events)
        return ShardWork(shard, entries, records, read_us, more, trace, log_version, events)

    def acknowledge(self, works: Sequence[ShardWork]) -> int:
        """Take off Redis what PostgreSQL has; tells of how many users it has all.

        A Redis that went back meanwhile is left to the next look.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        known = self.histories.acknowledge({work.shard: work.trace.token for work in works})
        clean = 0
        for work in works:
            if work.shard in known:
                token = work.trace.token
                clean += self.records.acknowledge(work.shard, work.records, read_us=work.read_us, token=token)
                if work.entries:
                    self.shard_log.acknowledge(work.shard, work.entries, token=token)
        return clean

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
