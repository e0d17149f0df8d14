"""The flush: read what changed, write it to PostgreSQL, acknowledge it (promise P6).

For each shard the log is read before the records (``reader.py``), so that in one transaction PostgreSQL gets
events together with progress that already contains them. Nothing leaves Redis before the commit, and then only what
has not changed since.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import structlog
from redis import Redis
from redis.exceptions import LockError
from redis.lock import Lock

from models.database.fleet.histories import ShardFlush
from models.database.flush.items import EventRow, Flush, ProgressRow
from models.database.flush.writer import FlushWriter
from models.declarations.metrics import (
    DEAD_LETTERS,
    EVENTS_FAILED,
    FLUSH_LAG,
    FLUSH_ROWS,
    FLUSH_SECONDS,
    FLUSHED_EVENTS,
    FLUSHED_ROWS,
)
from models.errors import DatabaseBehindError, DatabaseUnavailableError, StateUnavailableError
from models.failpoints import failpoint
from models.fleet.probes import ProbeRow, is_probe
from models.state.connection import state_errors
from models.state.keys import FLUSH_ASKED, FLUSH_LOCK
from models.state.metrics import Metrics
from models.state.scripts import StateLock
from models.stores.standings import compare
from tasks.flush.eviction import Evictor
from tasks.flush.reader import ShardChanges, ShardWork
from tasks.histories.watch import HistoryWatch

LOCK_SECONDS = 10
"""How long a flusher that was killed, or that lost Redis, keeps the others from flushing."""
CONCURRENCY = 2
"""Transactions under way at once: while PostgreSQL works on one, the next is prepared. They share no shard."""

log = structlog.get_logger()


@dataclass(slots=True)
class FlushReport:
    """What a flush did."""

    rows: int = 0
    events: int = 0
    users_acknowledged: int = 0
    refused: int = 0
    transactions: int = 0
    more: bool = False
    """Whether a shard held more than was read."""
    overlapped: bool = False
    """Whether another flush was at work meanwhile, so that this was not one whole flush."""
    stopped: bool = False
    """PostgreSQL went back in time: nothing is flushed until an operator decides."""

    def add(self, other: "FlushReport") -> bool:
        """Count in what another transaction did; tells whether it left more to do."""
        self.rows += other.rows
        self.events += other.events
        self.users_acknowledged += other.users_acknowledged
        self.refused += other.refused
        self.transactions += other.transactions
        return other.more


@dataclass(slots=True)
class _Group:
    works: list[ShardWork] = field(default_factory=list)
    rows: int = 0
    events: int = 0

    def add(self, work: ShardWork) -> None:
        self.works.append(work)
        self.rows += sum(len(record.rows) for record in work.records)
        self.events += work.events

    def flush(self) -> Flush:
        """All of it as PostgreSQL gets it."""
        flush = Flush()
        for work in self.works:
            shard = ShardFlush(work.shard, work.trace.token, work.log_version, work.row_version, work.events)
            flush.shards.append(shard)
            for record in work.records:
                flush.progress += [ProgressRow(record.tenant_id, record.user_id, row) for row in record.rows]
            for entry in work.entries:
                once = (entry.shard, entry.record_version, entry.applied_at, entry.revision)
                for event in entry.events:
                    if is_probe(event):
                        flush.probes.append(ProbeRow(entry.shard, event.occurred_at))
                    else:
                        flush.events.append(EventRow(event, *once))
                flush.unlocks += entry.unlocks
                flush.evaluations += entry.evaluations
        return flush


@dataclass(frozen=True, slots=True)
class Flusher:
    """Drains all shards into PostgreSQL."""

    redis: Redis
    shards: int
    batch_size: int
    changes: ShardChanges
    writer: FlushWriter
    watch: HistoryWatch
    metrics: Metrics
    evictor: Evictor
    """Frees memory after each pass: what was flushed may go."""

    def flush(self) -> FlushReport:
        """Flush until drained; returns at once if another flush runs.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: what was not acknowledged is flushed next time.
            HistoryChangedError: a store went back in time meanwhile; likewise.
        """
        report = FlushReport()
        lock = StateLock(self.redis, FLUSH_LOCK, timeout=LOCK_SECONDS, blocking=False, thread_local=False)
        with state_errors():
            if not lock.acquire():
                report.overlapped = True
                return report
            self.redis.delete(FLUSH_ASKED)
        try:
            while self._in_step(report) and self._pass(report):
                with state_errors():
                    lock.reacquire()
        except LockError:  # a pass outlasted the lock: another flusher is at work, and the versions keep both right
            report.overlapped = True
            log.warning("flush_lock_lost")
        finally:
            report.overlapped = not self._release(lock) or report.overlapped
        if report.rows or report.events:
            log.info("flushed", rows=report.rows, events=report.events, users=report.users_acknowledged)
        return report

    def mark(self, shards: int) -> None:
        """Flush so many shards once, those too of which nothing waits: a Redis of before this moment is behind then.

        Shards that are not in step are left to the next look.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
            HistoryChangedError: a store went back in time meanwhile.
        """
        differing = {difference.shard for difference in compare(self.redis, self.watch.engine, shards).differences}
        group = _Group()
        for shard in range(shards):
            if shard not in differing:
                group.add(self.changes.read(shard))
        if group.works:
            self._commit(group)

    def _in_step(self, report: FlushReport) -> bool:
        """Whether the stores are of one history, as far as that is to be known: each commit looks once more."""
        try:
            self.watch.check()
        except DatabaseBehindError:  # told once, by the first flush that finds it
            report.stopped = True
            return False
        except DatabaseUnavailableError:
            if self.changes.busy(self.shards):
                raise
            return False  # with nothing to flush it may be away
        return True

    def _release(self, lock: Lock) -> bool:
        """Release the lock; tells whether it was held until now, as far as is known."""
        try:
            with state_errors():
                lock.release()
        except (LockError, StateUnavailableError) as error:
            log.warning("flush_lock_not_released", error=str(error), seconds=LOCK_SECONDS)
            return False
        return True

    def _pass(self, report: FlushReport) -> bool:
        """Flush every shard once; tells whether any held more than was read."""
        more = False
        with ThreadPoolExecutor(CONCURRENCY) as executor:
            under_way: deque[Future[FlushReport]] = deque()
            for group in self._groups():
                under_way.append(executor.submit(self._commit, group))
                if len(under_way) > CONCURRENCY:  # what is read ahead takes memory
                    more = report.add(under_way.popleft().result()) or more
            for commit in under_way:
                more = report.add(commit.result()) or more
        self.evictor.relieve()
        return more

    def _groups(self) -> Iterator[_Group]:
        """Shards with work, gathered into transactions of about ``batch_size`` rows."""
        group = _Group()
        for shard in self.changes.busy(self.shards):
            group.add(self.changes.read(shard))
            if group.rows >= self.batch_size or group.events >= 2 * self.batch_size:
                yield group
                group = _Group()
        if group.works:
            yield group

    def _commit(self, group: _Group) -> FlushReport:
        failpoint("flush.read", DatabaseUnavailableError)
        started = perf_counter()
        with self.writer.begin(group.flush()) as transaction:
            # Redis learns of it first, and agrees only if it still has what was read of it.
            self.changes.histories.begin([work.beginning(transaction.found[work.shard]) for work in group.works])
            refused = transaction.write()
        failpoint("flush.committed")
        if group.rows or group.events:  # probes alone are no news
            self.metrics.observe(FLUSH_SECONDS, perf_counter() - started)
            self._observe(group)
        acknowledged = self.changes.acknowledge(group.works)
        failpoint("flush.settled")
        for dead_letter in refused:
            self.metrics.count(EVENTS_FAILED)
            self.metrics.count(DEAD_LETTERS, label=dead_letter.reason)
            log.error("row_refused", kind=dead_letter.kind, user_id=dead_letter.user_id, error=dead_letter.error)
        more = any(work.more for work in group.works)
        return FlushReport(group.rows, group.events, acknowledged, len(refused), transactions=1, more=more)

    def _observe(self, group: _Group) -> None:
        self.metrics.count(FLUSHED_ROWS, group.rows)
        self.metrics.count(FLUSHED_EVENTS, group.events)
        self.metrics.observe(FLUSH_ROWS, group.rows)
        now = self.changes.now_us()
        waits = [now - record.dirty_since for work in group.works for record in work.records if record.dirty_since]
        if waits:
            self.metrics.observe(FLUSH_LAG, max(waits) / 1e6)
