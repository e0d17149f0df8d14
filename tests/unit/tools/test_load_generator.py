"""The plan of a load: the same for the same seed, spread as events are, and writable for both wires."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import orjson
import pytest

from cli.client.messages import LOGIN_METHOD, STATISTIC_METHOD, grpc_message
from config.settings import Settings
from ingest.protos.account_pb2 import UserLoggedIn
from ingest.protos.statistic_pb2 import StatItemUpdated
from models.events import MAX_EXACT, Event
from models.rules.calendar import microseconds
from models.rules.challenge_file.parser import parse_challenges
from models.rules.engine import apply_all
from models.rules.goals import Rulebook
from models.rules.operators import make_rule
from models.rules.rule import Condition
from tests.support.stack import goal
from tools.loadtest.event_kinds import kinds_of
from tools.loadtest.generator import Shape, make_plan
from tools.loadtest.requests import grpc_requests, http_requests

NOW = microseconds(datetime.fromisoformat("2026-11-21T12:00:00+00:00"))


@pytest.fixture(scope="module")
def rulebook():
    path = Settings().challenges_file
    return parse_challenges(path.read_bytes(), str(path))


def plan_of(rulebook, run="r1", **changes):
    shape = replace(Shape(events=2_000, users=50, tenant_id="load-test", seed=7), **changes)
    return make_plan(rulebook, shape, run=run, now=NOW)


def events_of(plan):
    return [plan.event(index) for index in range(plan.distinct)]


def test_the_same_seed_draws_the_same_events_in_the_same_order(rulebook):
    first, second = plan_of(rulebook, duplicates=10), plan_of(rulebook, duplicates=10)

    assert first.order == second.order
    assert events_of(first) == events_of(second)
    assert list(http_requests(first, 100)) == list(http_requests(second, 100))


def test_another_seed_draws_other_events(rulebook):
    assert events_of(plan_of(rulebook)) != events_of(plan_of(rulebook, seed=8))


def test_two_runs_of_one_seed_share_no_user_and_no_event(rulebook):
    first, second = events_of(plan_of(rulebook, run="r1")), events_of(plan_of(rulebook, run="r2"))

    assert {event.user_id for event in first}.isdisjoint(event.user_id for event in second)
    assert {event.event_id for event in first}.isdisjoint(event.event_id for event in second)
    assert [event[4:] for event in first] == [event[4:] for event in second]


def test_repeats_are_part_of_what_is_sent_and_repeat_the_same_event(rulebook):
    plan = plan_of(rulebook, duplicates=10)

    assert len(plan.order) == 2_000
    assert plan.distinct == 1_800
    assert set(plan.order) == set(range(1_800))


@pytest.mark.parametrize(("events", "duplicates"), [(1, 99), (0, 0), (1, 0), (3, 50)])
def test_a_load_of_few_events_sends_as_many_as_asked(rulebook, events, duplicates):
    plan = plan_of(rulebook, events=events, duplicates=duplicates)

    assert len(plan.order) == events
    assert set(plan.order) == set(range(plan.distinct))


def test_events_lie_in_the_past_within_the_spread_mostly_in_the_last_minutes(rulebook):
    ages = [timedelta(microseconds=NOW - event.occurred_at) for event in events_of(plan_of(rulebook))]

    assert timedelta(0) <= min(ages)
    assert timedelta(days=1) < max(ages) < timedelta(days=3)
    assert sum(age <= timedelta(minutes=10) for age in ages) > len(ages) / 2


def test_a_short_lateness_bounds_every_age(rulebook):
    ages = [NOW - event.occurred_at for event in events_of(plan_of(rulebook, spread=timedelta(seconds=5)))]

    assert max(ages) < 5_000_000


def test_events_are_sent_out_of_their_order(rulebook):
    plan = plan_of(rulebook)
    times = [plan.occurred_at[index] for index in plan.order]

    assert times != sorted(times)


def test_every_goal_of_the_file_is_moved_and_every_operator_completes_some(rulebook):
    plan = plan_of(rulebook, events=20_000, users=20)
    rows = [
        row
        for _, indexes in plan.by_user()
        for row in apply_all(rulebook, (plan.event(index) for index in indexes)).values()
        if not row.part
    ]

    assert {row.goal_id for row in rows} == set(rulebook.by_id)
    assert {row.operator for row in rows if row.completed_at} == {"latest", "sum", "count"}


def test_values_of_a_latest_goal_grow_and_sometimes_fall(rulebook):
    plan = plan_of(rulebook, events=20_000, users=1)
    levels = sorted(
        (event.occurred_at, event.value) for event in events_of(plan) if event.event_type == "statistic:level"
    )

    assert levels[-1][1] > levels[0][1]
    assert any(later < earlier for (_, earlier), (_, later) in pairwise(levels))


def test_the_highest_target_leaves_values_exact():
    plan = plan_of(Rulebook((goal("g", "latest", "e", target=float(MAX_EXACT)),)))

    assert all(abs(event.value) < MAX_EXACT for event in events_of(plan))


def test_for_grpc_only_logins_and_statistics_are_drawn(rulebook):
    plan = plan_of(rulebook, platform_only=True)

    for event in events_of(plan):
        is_login = event.event_type == "login"
        assert is_login or event.event_type.startswith("statistic:")
        assert (event.value is None, event.increment is None) == (is_login, is_login)


def test_rules_that_grpc_cannot_reach_leave_logins_to_send():
    rulebook = Rulebook((goal("g", "sum", "lesson"),))

    assert [kind.event_type for kind in kinds_of(rulebook, platform_only=True)] == ["login"]


EVERY_OPERATOR = Rulebook(
    (
        goal("lessons", "count", "lesson", target=3, where=(Condition("payload.course.id", "==", "c2"),)),
        goal("minutes", "sum", "workout", field="payload.minutes", target=60),
        goal("score", "max", "quiz", field="payload.score", target=90),
        goal("fast", "min", "race", field="payload.seconds", target=60),
        goal("cities", "distinct", "visit", field="payload.city", target=3),
        goal("days", "streak", "session", unit="day", target=2),
        goal("start", "sequence", ("profile", "tutorial"), target=2),
        goal("both", "all", of=("lessons", make_rule(op="count", events=("invite",), target=2)), target=2),
    )
)


def test_rules_in_payloads_and_parts_of_composites_are_moved_and_completed():
    plan = plan_of(EVERY_OPERATOR, events=5_000, users=5)
    rows = [row for user in range(5) for row in _rows_of(plan, user)]

    assert {row.goal_id for row in rows if row.completed_at} == {*EVERY_OPERATOR.by_id, "both#2"}


def _rows_of(plan, user):
    events = [plan.event(index) for index in range(plan.distinct) if plan.user[index] == user]
    return apply_all(EVERY_OPERATOR, events).values()


def test_http_requests_carry_payloads():
    plan = plan_of(EVERY_OPERATOR, events=50)
    rows = [row for request in http_requests(plan, 10) for row in orjson.loads(request.body)]

    for row, index in zip(rows, plan.order, strict=True):
        assert orjson.dumps(row.get("payload", {})) == (plan.event(index).payload or b"{}")
    assert {"course": {"id": "c2"}} in [row.get("payload") for row in rows]


def test_places_of_a_payload_that_exclude_each_other_leave_one_of_them():
    rules = (
        goal("a", "sum", "e", field="payload.x", target=60),
        goal("b", "sum", "e", field="payload.x.y", target=60),
    )
    (kind,) = kinds_of(Rulebook(rules), platform_only=False)

    assert list(orjson.loads(kind.payload(0))) == ["x"]


def test_http_requests_carry_each_sent_event_once_as_the_receiver_reads_it(rulebook):
    plan = plan_of(rulebook, duplicates=5)
    requests = list(http_requests(plan, 300))

    assert [len(request.events) for request in requests] == [300] * 6 + [200]
    rows = [row for request in requests for row in orjson.loads(request.body)]
    assert len(rows) == 2_000
    for row, index in zip(rows, plan.order, strict=True):
        event = plan.event(index)
        assert (row["event_id"], row["user_id"], row["event_type"], row.get("value")) == (
            event.event_id, event.user_id, event.event_type, event.value,
        )  # fmt: skip
        assert microseconds(datetime.fromisoformat(row["occurred_at"])) == event.occurred_at


def test_a_batch_of_one_is_an_object(rulebook):
    first = next(http_requests(plan_of(rulebook), 1))

    assert orjson.loads(first.body)["tenant_id"] == "load-test"


def test_grpc_messages_say_what_the_event_says(rulebook):
    plan = plan_of(rulebook, platform_only=True)

    for request in grpc_requests(plan):
        event = plan.event(request.events[0])
        if request.path == LOGIN_METHOD:
            login = UserLoggedIn.FromString(request.body)
            assert (login.id, login.user_id, login.namespace) == (event.event_id, event.user_id, "load-test")
            to_datetime = login.timestamp
        else:
            assert request.path == STATISTIC_METHOD
            stat = StatItemUpdated.FromString(request.body)
            assert (stat.id, stat.user_id, stat.namespace) == (event.event_id, event.user_id, "load-test")
            assert f"statistic:{stat.payload.stat_code}" == event.event_type
            assert (stat.payload.latest_value, stat.payload.inc) == (event.value, event.increment)
            to_datetime = stat.timestamp
        assert microseconds(datetime.fromisoformat(to_datetime)) == event.occurred_at


def test_other_events_have_no_grpc_message():
    with pytest.raises(ValueError, match="no gRPC service"):
        grpc_message(Event("e", "lesson", "t", "u", NOW, NOW))
