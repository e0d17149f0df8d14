"""Proves a run against PostgreSQL.

Every accepted event is there once, and every user's progress is what the reference engine makes of them.

It compares what was sent with PostgreSQL, by the rules, which may have changed meanwhile. It may be away
for a while: only the deadline ends the waiting.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic

from models.rules.engine import UserEngine
from models.rules.matcher import Matcher
from models.rules.operators import progress_of
from tools.loadtest.canary_counter import is_canary_counter
from tools.loadtest.sender import SendReport
from tools.loadtest.stored import RowKey, RowValue, StoredEvent, StoredRun

_MAX_EXAMPLES = 10


@dataclass(slots=True)
class Difference:
    """How many things differ, with examples in words."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str, times: int = 1) -> None:
        """Count one or more, and keep what is said of them as an example while there are few."""
        self.count += times
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples.append(example)


@dataclass(slots=True)
class VerifyReport:
    """What PostgreSQL holds of a run, against what it must hold."""

    expected_events: int
    """Different events that were accepted."""
    found_events: int = 0
    counted_at: float | None = None
    """When the count was first complete, on the monotonic clock; None where it never was."""
    exact_at: float | None = None
    """When every row of progress was first seen to be right; None where that never was."""
    expected_rows: int = 0
    skipped_users: int = 0
    """Users of requests without an answer: what they must have is unknown."""
    lost_events: Difference = field(default_factory=Difference)
    doubled_events: Difference = field(default_factory=Difference)
    stray_events: Difference = field(default_factory=Difference)
    """In PostgreSQL although they were refused."""
    wrong_rows: Difference = field(default_factory=Difference)
    doubled_effects: Difference = field(default_factory=Difference)
    """How often events counted once more than they were accepted, by the rows of the canary counter; these are wrong
    rows as well. Without ``tools.loadtest.canary_counter`` in the rules nothing can be said, and it stays empty."""

    @property
    def exact(self) -> bool:
        """Nothing is lost, doubled or wrong."""
        return not any(
            difference.count
            for difference in (self.lost_events, self.doubled_events, self.stray_events, self.wrong_rows)
        )


def verify(
    sent: SendReport,
    matcher: Matcher,
    database_url: str,
    *,
    timeout: float,
    on_count: Callable[[int], None] = lambda _events: None,
) -> VerifyReport:
    """Wait until PostgreSQL holds a run, then compare event by event and row by row.

    Args:
        sent: the run and what became of its events.
        matcher: the rules that the running product works with, those of before included.
        database_url: where its PostgreSQL is.
        timeout: seconds to wait for the events and the progress; what is missing then counts as lost.
        on_count: told how many events were found, each time they are counted.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer to the end.
    """
    report = VerifyReport(expected_events=sent.distinct_accepted)
    run = StoredRun(sent.plan, database_url, deadline=monotonic() + timeout)
    try:
        found = _verify_events(run, sent, report, on_count)
        _verify_progress(run, expected_rows(sent, matcher, found), report)
    finally:
        run.close()
    return report


def _verify_events(
    run: StoredRun, sent: SendReport, report: VerifyReport, on_count: Callable[[int], None]
) -> dict[str, StoredEvent]:
    """Wait for the events; returns those that are there."""
    for asked, count in run.event_counts():
        report.found_events = count
        on_count(count)
        # Events without an answer may be among those counted, so a full count alone proves nothing.
        if count >= report.expected_events:
            found = run.events()
            if _compare_events(found, sent, report):
                report.counted_at = asked
                return found
    found = run.events()
    _compare_events(found, sent, report)
    return found


def _verify_progress(run: StoredRun, what: tuple[dict[RowKey, RowValue], set[str]], report: VerifyReport) -> None:
    expected, unknown = what
    report.expected_rows, report.skipped_users = len(expected), len(unknown)
    for asked, rows in run.progress():
        found = {key: value for key, value in rows.items() if key.user_id not in unknown}
        report.wrong_rows, report.doubled_effects = compare_rows(expected, found), _doubled_effects(expected, found)
        if not report.wrong_rows.count:
            report.exact_at = asked
            return


def expected_rows(
    sent: SendReport, matcher: Matcher, stored: Mapping[str, StoredEvent]
) -> tuple[dict[RowKey, RowValue], set[str]]:
    """The rows that the accepted events mean, and the users of whom that cannot be said."""
    plan = sent.plan
    rows: dict[RowKey, RowValue] = {}
    unknown: set[str] = set()
    for number, indexes in plan.by_user():
        user_id = plan.user_id(number)
        if not sent.unanswered.isdisjoint(indexes):
            unknown.add(user_id)
            continue
        engine = UserEngine(matcher)
        for index in indexes:
            if sent.accepted_events[index]:
                event = plan.event(index)
                known = stored.get(event.event_id)
                engine.apply(event, revision=known.revision if known else None)
        for (goal_id, period), row in engine.rows.items():
            # By way of text, for a float's own digits are what PostgreSQL was given.
            value = RowValue(Decimal(str(progress_of(row))), bool(row.completed_at))
            rows[RowKey(user_id, goal_id, period)] = value
    return rows, unknown


def compare_rows(expected: dict[RowKey, RowValue], found: dict[RowKey, RowValue]) -> Difference:
    """Rows that are missing, should not be, or say something else."""
    wrong = Difference()
    for key, value in expected.items():
        if found.get(key) != value:
            wrong.add(f"{_row_name(key)}: must be {_row_text(value)}, is {_row_text(found.get(key))}")
    for key in found.keys() - expected.keys():
        wrong.add(f"{_row_name(key)}: must not exist, is {_row_text(found[key])}")
    return wrong


def _doubled_effects(expected: Mapping[RowKey, RowValue], found: Mapping[RowKey, RowValue]) -> Difference:
    """By how much the rows of the canary counter are too high."""
    doubled = Difference()
    for key, value in found.items():
        right = expected.get(key)
        excess = int(value.progress - (right.progress if right else 0)) if is_canary_counter(key.goal_id) else 0
        if excess > 0:
            doubled.add(f"{_row_name(key)}: counted {excess} more than accepted", excess)
    return doubled


def _compare_events(found: Mapping[str, StoredEvent], sent: SendReport, report: VerifyReport) -> bool:
    """Note in the report what differs; whether every accepted event is there."""
    plan = sent.plan
    lost, doubled, stray = Difference(), Difference(), Difference()
    times = {event_id: event.times for event_id, event in found.items()}
    for index, accepted in enumerate(sent.accepted_events):
        event_id = plan.event_id(index)
        count = times.pop(event_id, 0)
        if accepted and not count:
            lost.add(f"{event_id} of {plan.user_id(plan.user[index])}")
        elif count > 1:
            doubled.add(f"{event_id} {count} times")
        elif count and not accepted and index not in sent.unanswered:
            stray.add(event_id)
    for event_id in times:
        stray.add(event_id)
    report.lost_events, report.doubled_events, report.stray_events = lost, doubled, stray
    return not lost.count


def _row_name(key: RowKey) -> str:
    return f"{key.user_id} {key.goal_id}{f' {key.period}' if key.period else ''}"


def _row_text(value: RowValue | None) -> str:
    return "missing" if value is None else f"{value.progress}{' completed' if value.completed else ''}"
