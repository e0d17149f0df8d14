"""The proof at the end of a load: it passes on a right database and names what is wrong in a wrong one."""

import threading
import time

import pytest

from models.errors import DatabaseUnavailableError
from models.rules.calendar import microseconds
from models.rules.matcher import always
from tests.support.stack import GOALS, NOON
from tools.loadtest.generator import Shape, make_plan
from tools.loadtest.report import as_data, as_table, faults
from tools.loadtest.sender import SendReport
from tools.loadtest.verification import verify

pytestmark = pytest.mark.slow


@pytest.fixture
def sent():
    """A run of 400 events, all of them accepted."""
    shape = Shape(events=440, users=12, tenant_id="load-test", duplicates=10)
    plan = make_plan(GOALS, shape, run="abc", now=microseconds(NOON))
    report = SendReport(plan, bytearray(b"\1" * plan.distinct), sent=440, accepted=440, started=time.monotonic())
    report.finished = time.monotonic()
    return report


@pytest.fixture
def post(stack, sent):
    """Puts events of the run, by index, through the hot and the cold path."""

    def put(indexes):
        events = [sent.plan.event(index) for index in indexes]
        for start in range(0, len(events), 100):
            stack.post(*events[start : start + 100])
        stack.flusher.flush()

    return put


@pytest.fixture
def check(sent, database_url):
    """Verifies the run without patience."""
    return lambda **changes: verify(sent, always(GOALS), database_url, **({"timeout": 0.2} | changes))


def sql(stack, statement):
    with stack.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_a_run_with_repeats_in_any_order_is_proved_exact(post, check, sent):
    post(sent.plan.order)

    proof = check()

    assert proof.exact
    assert proof.found_events == proof.expected_events == sent.plan.distinct
    assert proof.counted_at is not None
    assert proof.exact_at is not None
    assert proof.expected_rows > 12
    assert faults(sent, proof) == []


def test_other_runs_and_other_tenants_do_not_count(post, check, sent, stack):
    post(sent.plan.order)
    stack.post(stack.event(user="lt-other-1", tenant="load-test"), stack.event(user="lt-abc-1", tenant="t1"))
    stack.flusher.flush()

    assert check().exact


def test_a_lost_event_is_named(post, check, sent):
    post(range(1, sent.plan.distinct))

    proof = check()

    assert proof.lost_events.examples == [f"abc-0 of {sent.plan.user_id(sent.plan.user[0])}"]
    assert proof.counted_at is None
    assert proof.wrong_rows.count > 0
    assert not proof.exact


def test_an_event_that_counts_twice_is_a_wrong_row_with_both_numbers(post, check, sent, stack):
    post(sent.plan.order)
    sql(
        stack,
        "UPDATE user_goal_progress SET progress = progress + 1 WHERE user_id = 'lt-abc-3' AND goal_id = 'logins'",
    )

    proof = check()

    (example,) = proof.wrong_rows.examples
    assert example.startswith("lt-abc-3 logins: must be ")
    assert proof.exact_at is None
    assert "1 rows of progress are wrong: lt-abc-3" in faults(sent, proof)[0]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM user_goal_progress WHERE user_id = 'lt-abc-3' AND goal_id = 'logins'",
        "UPDATE user_goal_progress SET goal_id = 'other' WHERE user_id = 'lt-abc-3' AND goal_id = 'logins'",
    ],
)
def test_a_missing_row_and_one_too_many_are_wrong(post, check, sent, stack, statement):
    post(sent.plan.order)
    sql(stack, statement)

    assert not check().exact


def test_an_event_stored_twice_is_named(post, check, sent, stack):
    post(sent.plan.order)
    others = "event_type, source, value, increment, payload, accepted_at, applied_at, shard, stamp"
    copied = "SELECT tenant_id, user_id, event_id, occurred_at + interval '1 microsecond'"
    sql(
        stack,
        f"INSERT INTO events (tenant_id, user_id, event_id, occurred_at, {others})"
        f" {copied}, {others} FROM events WHERE event_id = 'abc-7'",
    )

    assert check().doubled_events.examples == ["abc-7 2 times"]


def test_a_refused_event_must_not_be_there(post, check, sent):
    sent.accepted_events[5] = 0
    post(sent.plan.order)

    proof = check()

    assert proof.stray_events.examples == ["abc-5"]
    assert not proof.exact


def test_users_of_events_without_an_answer_are_not_judged(post, check, sent):
    sent.accepted_events[5] = 0
    sent.unanswered = {5}
    post(sent.plan.order)

    proof = check()

    assert proof.exact
    assert proof.skipped_users == 1
    assert faults(sent, proof) == ["1 events never got an answer"]


def test_events_that_arrive_late_are_waited_for(post, check, sent):
    counts: list[int] = []
    writer = threading.Timer(0.5, lambda: post(sent.plan.order))
    writer.start()

    proof = check(timeout=20, on_count=counts.append)
    writer.join()

    assert proof.exact
    assert counts[0] == 0
    assert counts[-1] == sent.plan.distinct
    assert proof.counted_at - sent.finished > 0.4


def test_a_database_that_stays_away_is_said_so(sent):
    with pytest.raises(DatabaseUnavailableError):
        verify(sent, always(GOALS), "postgresql://nobody:nothing@127.0.0.1:1/none", timeout=0.1)


def test_the_report_has_every_figure(post, check, sent):
    post(sent.plan.order)
    sent.latencies.extend([0.001, 0.002, 0.1])

    data = as_data(sent, check())

    assert data["ok"]
    assert (data["sent"], data["accepted"], data["accepted_distinct"], data["rejected"]) == (440, 440, 396, 0)
    assert data["latency_ms"] == {"p50": 2.0, "p95": 100.0, "p99": 100.0, "max": 100.0}
    assert data["in_postgresql_seconds"] >= data["in_postgresql_after_last_answer_seconds"] >= 0
    assert as_table(data).row_count > 8
