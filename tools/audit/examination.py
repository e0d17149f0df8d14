"""The state of users on a running product, and what is wrong with it.

The record is looked at first, then the shard's log, then PostgreSQL. So whatever was applied to a user before the look
is in one of the two logs; what is applied after it, the look gives away (``models/state/progress/repairs.py``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain

from models.database.event_log import Logged, User, open_log
from models.database.repairs import ExtraRow, users_with_dead_events
from models.events import identity_hash, remembered_for
from models.rules.calendar import microseconds_of, oldest_periods
from models.rules.engine import Rows
from models.rules.rows import Row, Unlock
from models.state.event_log import LogEntry, ShardLog
from models.state.progress.records import is_past
from models.state.progress.repairs import RecordRepairs, RecordSnapshot, Replacement
from tasks.audit.audit import Auditor
from tasks.audit.comparison import DROPPED, Comparer, Difference
from tasks.audit.replay import Replayed, nothing, replay
from tasks.audit.stored_progress import Key, StoredUser, as_stored, read_users

DEAD_EVENTS = "PostgreSQL refused events of this user: redrive or discard these dead letters first"
_ENTRIES = 40
"""Applied batches read of a log at a time."""


@dataclass(slots=True)
class UserDiff:
    """What a user is and must be."""

    user: User
    snapshot: RecordSnapshot
    differences: list[Difference] = field(default_factory=list)
    replacement: Replacement = field(default_factory=lambda: Replacement([], [], 0))
    extra_rows: list[ExtraRow] = field(default_factory=list)
    missing_unlocks: list[Unlock] = field(default_factory=list)
    refusal: str | None = None
    """Why the user must not be repaired."""

    @property
    def rows_differ(self) -> bool:
        """Whether rows are wrong, in PostgreSQL or in Redis; not only unlocks."""
        return any(difference.what != "unlock" for difference in self.differences)


@dataclass(frozen=True, slots=True)
class Examiner:
    """Examines users of one installation."""

    auditor: Auditor
    repairs: RecordRepairs
    shard_log: ShardLog
    window: timedelta
    now_us: Callable[[], int]

    def examine(self, shard: int, users: Sequence[User]) -> list[UserDiff]:
        """What is wrong with users of one shard; those whose events are no longer all kept are left out.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
        """
        now_us = self.now_us()
        snapshots = self.repairs.read(shard, users, now_us=now_us)
        entries = list(self._entries(shard))
        with open_log(self.auditor.engine) as log:
            comparer = self.auditor.comparer(log)
            events = _by_user(users, log.events_of(users), entries)
            stored = read_users(log.connection, users)
            refused = users_with_dead_events(log.connection, users)
        outcomes = {found.user: found for found in replay(comparer.matcher, chain.from_iterable(events.values()))}
        user_comparer = _UserComparer(comparer, now_us, self.window, _pending_unlocks(entries))
        found = []
        for user, snapshot in zip(users, snapshots, strict=True):
            diff = user_comparer.diff(snapshot, outcomes.get(user, nothing(user)), stored[user], events[user])
            if diff is not None:
                diff.refusal = DEAD_EVENTS if user in refused else None
                found.append(diff)
        return found

    def differ_in_redis(self, comparer: Comparer, shard: int, block: Sequence[Replayed]) -> list[User]:
        """Users of a shard whose record, which nothing waits to be written of, is not what it must be."""
        now_us = self.now_us()
        user_comparer = _UserComparer(comparer, now_us, self.window, {})
        snapshots = self.repairs.read(shard, [replayed.user for replayed in block], now_us=now_us)
        return [
            replayed.user
            for replayed, snapshot in zip(block, snapshots, strict=True)
            if not snapshot.is_dirty and user_comparer.differences_in_redis(snapshot, replayed)
        ]

    def has_changed(self, shard: int, diff: UserDiff) -> bool:
        """Whether something has happened to the user since it was looked at."""
        (now,) = self.repairs.read(shard, [diff.user], now_us=self.now_us())
        return now.compared != diff.snapshot.compared

    def _entries(self, shard: int) -> Iterator[LogEntry]:
        entries = self.shard_log.read(shard, _ENTRIES)
        while entries:
            yield from entries
            entries = self.shard_log.read(shard, _ENTRIES, after=entries[-1].entry_id)


@dataclass(frozen=True, slots=True)
class _UserComparer:
    """Judges the users of one time."""

    comparer: Comparer
    now_us: int
    window: timedelta
    pending_unlocks: dict[User, set[Key]]

    def diff(
        self, snapshot: RecordSnapshot, replayed: Replayed, stored: StoredUser, events: Sequence[Logged]
    ) -> UserDiff | None:
        soon = self._soon(snapshot, replayed.user, stored)
        comparison = self.comparer.compare(replayed, soon)
        if DROPPED in comparison.skipped:
            return None
        differences = comparison.differences + self.differences_in_redis(snapshot, replayed)
        missing = {(d.goal_id, d.period) for d in differences if d.what == "unlock" and d.expected == "unlocked"}
        wrong = {(d.goal_id, d.period) for d in differences if d.what != "unlock"}
        return UserDiff(
            replayed.user,
            snapshot,
            differences,
            Replacement(
                list(self._rows(replayed.rows, soon, wrong)), self._hashes(events), _highest_version(snapshot, stored)
            ),
            [
                ExtraRow(*replayed.user, *key, row.record_version)
                for key, row in stored.rows.items()
                if key not in replayed.rows and self.comparer.is_known(key)
            ],
            [unlock for unlock in replayed.unlocks if (unlock.goal_id, unlock.period) in missing],
        )

    def differences_in_redis(self, snapshot: RecordSnapshot, replayed: Replayed) -> list[Difference]:
        """What a loaded record has otherwise; rows of past periods need not be in it."""
        if snapshot.rows is None:
            return []
        held = {(row.goal_id, row.period): as_stored(row) for row in snapshot.rows}
        expected = {key: row for key, row in replayed.rows.items() if key in held or not self._is_past(key[1])}
        completed = {(unlock.goal_id, unlock.period) for unlock in replayed.unlocks}
        comparison = self.comparer.compare(replayed._replace(rows=expected), StoredUser(held, completed))
        return [difference._replace(what=f"{difference.what} in Redis") for difference in comparison.differences]

    def _soon(self, snapshot: RecordSnapshot, user: User, stored: StoredUser) -> StoredUser:
        """What PostgreSQL will have once all that waits in Redis is written."""
        soon = StoredUser(dict(stored.rows), stored.unlocks | self.pending_unlocks.get(user, set()))
        for row in snapshot.rows or [] if snapshot.is_dirty else []:
            known = stored.rows.get((row.goal_id, row.period))
            if row.record_version > snapshot.flushed and (known is None or row.record_version > known.record_version):
                soon.rows[row.goal_id, row.period] = as_stored(row)
        return soon

    def _rows(self, expected: Rows, soon: StoredUser, wrong: set[Key]) -> Iterator[Row]:
        """A record's rows: as they are where they are right, those of past periods only where they are wrong."""
        for key, row in expected.items():
            known = soon.rows.get(key)
            if known is None or key in wrong:
                yield row
            elif not self._is_past(key[1]):
                yield known.row()
        for key, known in soon.rows.items():
            if not self.comparer.is_known(key) and not self._is_past(key[1]):
                yield known.row()

    def _hashes(self, events: Iterable[Logged]) -> list[str]:
        # Applied up to a window after they were accepted, where they were redriven. An id too many does no harm.
        since = self.now_us - microseconds_of(self.window + remembered_for(self.window))
        return [identity_hash(logged.event.event_id) for logged in events if logged.event.accepted_at >= since]

    def _is_past(self, period: str) -> bool:
        return is_past(period, oldest_periods(self.now_us, microseconds_of(self.window)))


def _by_user(users: Sequence[User], logged: Iterable[Logged], entries: Sequence[LogEntry]) -> dict[User, list[Logged]]:
    """Each user's events in the order of applying: those of PostgreSQL, then those on their way there."""
    found: dict[User, list[Logged]] = {user: [] for user in users}
    for item in logged:
        found[item.event.tenant_id, item.event.user_id].append(item)
    for entry in entries:
        for event in entry.events:
            if (event.tenant_id, event.user_id) in found:
                found[event.tenant_id, event.user_id].append(Logged(event, entry.revision or None, entry.applied_at))
    return found


def _pending_unlocks(entries: Sequence[LogEntry]) -> dict[User, set[Key]]:
    found: dict[User, set[Key]] = {}
    for entry in entries:
        for unlock in entry.unlocks:
            user = (unlock.event.tenant_id, unlock.event.user_id)
            found.setdefault(user, set()).add((unlock.goal_id, unlock.period))
    return found


def _highest_version(snapshot: RecordSnapshot, stored: StoredUser) -> int:
    record_versions = [row.record_version for row in stored.rows.values()] + [
        row.record_version for row in snapshot.rows or []
    ]
    return max(record_versions, default=0)
