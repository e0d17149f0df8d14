"""The audit: users compared in one snapshot, then again where they differ.

Progress may be in PostgreSQL a moment before its events: on a running product, a difference is drift only if it stays.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from time import monotonic, sleep
from typing import TypeVar

from sqlalchemy import Engine

from models.database.event_log import EventLog, User, open_log
from models.progress_listener import SILENT, ProgressListener
from models.rules.matcher import Matcher
from tasks.audit.comparison import DROPPED, Comparer, Comparison, Difference
from tasks.audit.judgement import Judgements
from tasks.audit.replay import Replayed, nothing, replay
from tasks.audit.stored_progress import read_users

T = TypeVar("T")
Elsewhere = Callable[[Comparer, Sequence[Replayed]], Collection[User]]
"""Those of some users that differ elsewhere than in PostgreSQL."""

SHOWN = 100
"""Differences that a report names; more are counted."""
_BLOCK = 200
"""Users whose rows are read at a time."""
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Scope:
    """Which users to look at: one, a number drawn at random, or else all."""

    user: User | None = None
    sample: int | None = None


@dataclass(slots=True)
class AuditReport:
    """What an audit found."""

    users: int = 0
    """Users compared; those left out are in ``skipped``."""
    events: int = 0
    rows_equal: int = 0
    unlocks_equal: int = 0
    difference_count: int = 0
    differences: list[Difference] = field(default_factory=list)
    """The first ``SHOWN``."""
    skipped: Counter[str] = field(default_factory=Counter)
    """What was not compared, by the reason."""
    judgements: Judgements = field(default_factory=Judgements)
    """Events that were judged by rules older than those of their time."""
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether progress is what the events say, and each was judged by the rules of its time."""
        return not self.difference_count and not self.judgements.count

    def add(self, comparison: Comparison) -> None:
        """Count a user in."""
        self.users += DROPPED not in comparison.skipped
        self.events += comparison.events
        self.rows_equal += comparison.rows_equal
        self.unlocks_equal += comparison.unlocks_equal
        self.difference_count += len(comparison.differences)
        self.differences += comparison.differences[: SHOWN - len(self.differences)]
        self.skipped += comparison.skipped


def _nowhere(_comparer: Comparer, _block: Sequence[Replayed]) -> Collection[User]:
    return ()


@dataclass(frozen=True, slots=True)
class Auditor:
    """Audits one PostgreSQL."""

    engine: Engine
    matcher: Callable[[], Matcher]
    """The rules as published by now; asked once for each snapshot, after it was taken."""
    late_by: timedelta | None = None
    """How much later than it happened an event may have been applied, where old events are dropped; else None."""
    retention: timedelta | None = None
    """How long events are kept; None where ``late_by`` counts as if some had been dropped."""
    listener: ProgressListener = SILENT
    """Told of events: how many there are to replay, where that is known, and how many were at the first look."""

    def run(self, scope: Scope, *, grace: timedelta) -> AuditReport:
        """Audit the users of a scope; those that differ have for ``grace`` to become equal.

        Raises:
            ConfigurationError: PostgreSQL holds no rules.
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        started, report = monotonic(), AuditReport()
        candidates = self._compare(scope, None, report)
        deadline = monotonic() + grace.total_seconds()
        while candidates:
            is_last = monotonic() >= deadline
            candidates = self._compare(scope, candidates, report, is_last=is_last)
            if candidates:
                sleep(min(_PAUSE_SECONDS, max(0.0, deadline - monotonic())))
        report.seconds = monotonic() - started
        return report

    def _compare(
        self, scope: Scope, users: Sequence[User] | None, report: AuditReport, *, is_last: bool = False
    ) -> list[User]:
        """Look at users once; returns those that differ, unless it is the last look, which reports them."""
        differing = []
        with open_log(self.engine) as log:
            judgements = report.judgements if users is None else Judgements()
            for comparison, _ in self._comparisons(log, scope, users, judgements):
                if users is None:
                    self.listener.advance(comparison.events)
                if comparison.differences and not is_last:
                    differing.append(comparison.user)
                else:
                    report.add(comparison)
        return differing

    def candidates(self, scope: Scope, also: Elsewhere, report: AuditReport) -> list[User]:
        """The users of a scope who differ in one look, if only because the product is running.

        Args:
            scope: the users to look at.
            also: names those who differ elsewhere than in PostgreSQL.
            report: told how much was looked at.

        Raises:
            ConfigurationError: PostgreSQL holds no rules.
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        found = []
        with open_log(self.engine) as log:
            for comparison, differs_elsewhere in self._comparisons(log, scope, None, report.judgements, also):
                self.listener.advance(comparison.events)
                report.add(comparison)
                if comparison.differences or differs_elsewhere:
                    found.append(comparison.user)
        return found

    def comparer(self, log: EventLog) -> Comparer:
        """Compares users as this snapshot of the log has them, under the rules that were published by then."""
        kept_since = self._whole_since(log.kept_since())  # the first question: it takes the snapshot
        return Comparer(self.matcher(), kept_since=kept_since)

    def _comparisons(
        self,
        log: EventLog,
        scope: Scope,
        users: Sequence[User] | None,
        judgements: Judgements,
        also: Elsewhere = _nowhere,
    ) -> Iterator[tuple[Comparison, bool]]:
        comparer = self.comparer(log)
        judgements.publications = log.publication_times()
        wanted = _users(log, scope) if users is None else users
        for block in self._blocks(log, comparer.matcher, wanted, judgements):
            known = read_users(log.connection, [replayed.user for replayed in block])
            elsewhere = also(comparer, block)
            for replayed in block:
                yield comparer.compare(replayed, known[replayed.user]), replayed.user in elsewhere

    def _whole_since(self, kept_since: datetime | None) -> datetime | None:
        """From when on progress that begins comes from events that are all kept."""
        if kept_since is None or self.late_by is None:
            return kept_since
        if self.retention is not None and kept_since > datetime.now(UTC) - self.retention:
            return kept_since  # nothing was old enough to be dropped
        return kept_since + self.late_by

    def _blocks(
        self, log: EventLog, matcher: Matcher, users: Sequence[User] | None, judgements: Judgements
    ) -> Iterator[list[Replayed]]:
        """What users must have, some at a time: these, or all there are."""
        if users is not None:
            for wanted in _in_blocks(users):
                events = judgements.watch(log.events_of(wanted))
                found = {replayed.user: replayed for replayed in replay(matcher, events)}
                yield [found.get(user) or nothing(user) for user in wanted]
            return
        self.listener.start(log.count())
        yield from _in_blocks(replay(matcher, judgements.watch(log.events())))
        yield from _in_blocks(map(nothing, log.users_without_events()))


def _users(log: EventLog, scope: Scope) -> list[User] | None:
    """The users of a scope; None for all."""
    if scope.user is not None:
        return [scope.user]
    return None if scope.sample is None else log.sample(scope.sample)


def _in_blocks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while block := list(islice(rest, _BLOCK)):
        yield block
