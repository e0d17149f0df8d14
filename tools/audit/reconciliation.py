"""Repairs what the audit finds, on a running product.

A user's record in Redis is replaced under compare-and-set, with a new version, and the flush writes it over whatever
PostgreSQL has. Only then rows that should not exist are deleted, and missing unlocks added, in PostgreSQL itself.
Unlocks that should not be stay (promise P8).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic, sleep

from config.shards import shard_for
from models.database.event_log import User
from models.database.repairs import ExtraRow, add_unlocks, delete_rows, rejudge_events
from models.errors import DatabaseUnavailableError
from models.progress_listener import SILENT, ProgressListener
from models.rules.rows import Unlock
from tasks.audit.audit import AuditReport, Scope
from tasks.audit.comparison import MISSING, Comparer
from tasks.audit.judgement import Judgements, LateJudgement
from tasks.audit.replay import Replayed
from tasks.flush.flusher import Flusher
from tools.audit.examination import Examiner, UserDiff
from tools.audit.reconcile_report import ReconcileReport

ATTEMPTS = 6
"""How often a user is tried who changes all the while."""
BUSY = "events kept arriving for this user"
EXTRA_UNLOCK = "an unlock that the events do not explain: unlocks are never taken back"
STILL_WRONG = "it differs still: look for rows of this user in dead_letters"
UNKNOWN_VERSION = "a row in PostgreSQL has a `stamp` that was never drawn: delete the row"
_BLOCK = 50
_FIRST_PAUSE_SECONDS = 0.05
_FLUSH_ATTEMPTS = 300
_FLUSH_PAUSE_SECONDS = 0.2


@dataclass(slots=True)
class _ToDo:
    """What is to be done in PostgreSQL once the records are flushed."""

    users: dict[int, list[User]] = field(default_factory=dict)
    extra_rows: list[ExtraRow] = field(default_factory=list)
    unlocks: list[Unlock] = field(default_factory=list)

    def add(self, shard: int, diff: UserDiff) -> None:
        self.users.setdefault(shard, []).append(diff.user)
        self.extra_rows += diff.extra_rows
        self.unlocks += diff.missing_unlocks


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Reconciles the users of one installation with the event log."""

    examiner: Examiner
    flusher: Flusher
    shards: int
    listener: ProgressListener = SILENT
    """Told of users that may differ, who are looked at one by one."""
    pause: Callable[[float], None] = sleep

    def run(self, scope: Scope, *, dry_run: bool = False, rejudge: bool = False) -> ReconcileReport:
        """Find users of a scope who are not what their events say, and repair them unless it is a ``dry_run``.

        With ``rejudge`` events that were judged by rules older than those of their time are judged anew first.

        Raises:
            ConfigurationError: PostgreSQL holds no rules.
            DatabaseBehindError: PostgreSQL went back in time.
            StateUnavailableError, DatabaseUnavailableError: a server did not answer; what was done is right, and
                another run does the rest.
        """
        started, report = monotonic(), ReconcileReport()
        self.flusher.watch.check()  # a reset that came later would undo the repairs
        if rejudge and not dry_run:
            report.events_rejudged = self._rejudge(scope)
        looked = AuditReport()
        candidates = self.examiner.auditor.candidates(scope, self._differ_in_redis, looked)
        report.users, report.events, report.skipped = looked.users, looked.events, looked.skipped
        report.judgements = looked.judgements
        self.listener.start(len(candidates))
        to_do = _ToDo()
        for shard, users in self._blocks(candidates):
            self._block(shard, users, report, to_do, dry_run=dry_run)
            self.listener.advance(len(users))
        if to_do.users:
            self._finish(to_do, report)
        report.seconds = monotonic() - started
        return report

    def _rejudge(self, scope: Scope) -> int:
        """Have events judged by the rules of their time: what they mean then is a difference like any other."""
        self._flushed()  # what waits in Redis may be among them
        looked = AuditReport(judgements=Judgements(keep_all=True))
        self.examiner.auditor.candidates(scope, lambda _comparer, _block: (), looked)
        late = looked.judgements.found
        if not late:
            return 0
        columns = zip(LateJudgement._fields, map(list, zip(*late, strict=True)), strict=True)
        return rejudge_events(self.examiner.auditor.engine, dict(columns))

    def _blocks(self, users: Sequence[User]) -> Iterator[tuple[int, list[User]]]:
        """Users some at a time, each time of one shard."""
        by_shard: dict[int, list[User]] = {}
        for user in users:
            by_shard.setdefault(shard_for(*user, self.shards), []).append(user)
        for shard, members in sorted(by_shard.items()):
            rest = iter(members)
            while block := list(islice(rest, _BLOCK)):
                yield shard, block

    def _differ_in_redis(self, comparer: Comparer, block: Sequence[Replayed]) -> Collection[User]:
        by_shard: dict[int, list[Replayed]] = {}
        for replayed in block:
            by_shard.setdefault(shard_for(*replayed.user, self.shards), []).append(replayed)
        return {
            user
            for shard, members in by_shard.items()
            for user in self.examiner.differ_in_redis(comparer, shard, members)
        }

    def _block(
        self, shard: int, users: Sequence[User], report: ReconcileReport, to_do: _ToDo, *, dry_run: bool
    ) -> None:
        for diff in self._finished(shard, users, report, self._is_certain if dry_run else self._is_done):
            report.found(diff)
            if dry_run:
                report.leave(diff.user, "not repaired: this is a dry run")
            elif diff.refusal:
                report.leave(diff.user, diff.refusal)
            else:
                to_do.add(shard, diff)

    def _finished(
        self, shard: int, users: Sequence[User], report: ReconcileReport, is_finished: Callable[[int, UserDiff], bool]
    ) -> Iterator[UserDiff]:
        """Users who differ, each once ``is_finished`` was done with it; who changes too often is left."""
        rest = list(users)
        for attempt in range(ATTEMPTS):
            changing = []
            for diff in self.examiner.examine(shard, rest):
                if not diff.differences:
                    continue
                try:
                    finished = is_finished(shard, diff)
                except ValueError:
                    diff.refusal, finished = UNKNOWN_VERSION, True
                if finished:
                    yield diff
                else:
                    changing.append(diff.user)
            rest = changing
            if not rest:
                return
            self.pause(_FIRST_PAUSE_SECONDS * 2**attempt)
        for user in rest:
            report.leave(user, BUSY)

    def _is_certain(self, shard: int, diff: UserDiff) -> bool:
        return not self.examiner.has_changed(shard, diff)

    def _is_done(self, shard: int, diff: UserDiff) -> bool:
        if diff.refusal or not diff.rows_differ:
            return self._is_certain(shard, diff)
        now_us = self.examiner.now_us()
        return self.examiner.repairs.compare_and_set(shard, diff.snapshot, diff.replacement, now_us=now_us)

    def _finish(self, to_do: _ToDo, report: ReconcileReport) -> None:
        """Write what was put into the records, change PostgreSQL itself, and compare all of them once more."""
        self._flushed()
        engine = self.examiner.auditor.engine
        report.rows_deleted = delete_rows(engine, to_do.extra_rows)
        add_unlocks(engine, to_do.unlocks)
        report.unlocks_added = len(to_do.unlocks)
        for shard, users in to_do.users.items():
            left_before = report.left_count
            wrong = {diff.user: diff for diff in self._finished(shard, users, report, self._is_certain)}
            busy = report.left_count - left_before  # of whom nothing is known yet
            report.users_repaired += len(users) - len(wrong) - busy
            for user, diff in wrong.items():
                is_extra_unlock = all(d.what == "unlock" and d.expected == MISSING for d in diff.differences)
                report.leave(user, EXTRA_UNLOCK if is_extra_unlock else STILL_WRONG)

    def _flushed(self) -> None:
        """One whole flush: none that has read the old records is under way afterwards, for only one runs at a time."""
        for _ in range(_FLUSH_ATTEMPTS):
            flushed = self.flusher.flush()
            if not flushed.overlapped and not flushed.stopped:
                return
            self.pause(_FLUSH_PAUSE_SECONDS)
        raise DatabaseUnavailableError("another flush has not ended for a minute; what was repaired waits for it")
