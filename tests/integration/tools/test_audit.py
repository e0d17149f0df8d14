"""``questline audit``: silent on what the events say, and by name on what they do not."""

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from typer.testing import CliRunner

from cli import app
from models.database.connection import statement
from models.database.event_log import open_log
from models.database.rules.publisher import Document
from models.progress_listener import ProgressListener
from models.rules.calendar import microseconds
from models.rules.goals import Publication, Publications
from tasks.audit.audit import SHOWN, Scope
from tasks.rules.publications import parse_stored
from tests.support.audit import audit, sql
from tests.support.mixed_rules import RULES, document, events_of, plan_of, post, use_database
from tests.support.publication import publish
from tests.support.stack import NOON, Stack
from tools.loadtest.generator import Shape, make_plan

pytestmark = pytest.mark.slow

USERS = 25


class Heard(ProgressListener):
    """Keeps what it is told."""

    def __init__(self):
        self.totals: list[int] = []
        self.steps: list[int] = []

    def start(self, total):
        self.totals.append(total)

    def advance(self, done):
        self.steps.append(done)


def test_a_mixed_load_with_shuffles_and_duplicates_has_no_drift(mixed):
    plan = plan_of()
    post(mixed, plan)
    heard = Heard()

    report = audit(mixed, listener=heard)

    assert report.differences == []
    assert (report.users, report.events) == (USERS, plan.distinct)
    assert (report.rows_equal, report.unlocks_equal) == (mixed.count("user_goal_progress"), mixed.count("unlocks"))
    assert report.unlocks_equal > USERS
    assert heard.totals == [plan.distinct]
    assert sum(heard.steps) == plan.distinct


def test_a_load_through_evictions_and_a_wiped_redis_has_no_drift(mixed):
    plan = plan_of(600, 10)
    events = events_of(plan)
    for at in range(0, len(events), 50):
        mixed.post(*events[at : at + 50])
        mixed.flusher.flush()
        if at % 100:
            mixed.redis.flushall()

    assert audit(mixed).differences == []


@pytest.mark.parametrize("policy", ["keep", "restart", "grandfather"])
def test_a_rule_that_changes_between_events_makes_no_drift(redis, engine, policy):
    change = microseconds(NOON)
    first = Publication(1, 0, RULES)
    versions = {goal.goal_id: 2 if goal.goal_id == "lessons" else 1 for goal in RULES.goals}
    later = parse_stored(document(9, on_change=policy)).with_versions(versions)
    both = Publications((first, Publication(2, change, later)))
    stack = Stack(redis, engine, rulebook=Publications((first,)))
    plan = make_plan(RULES, Shape(events=1_200, users=10, tenant_id="t1", seed=5), run="v", now=change + 86_400_000_000)
    events = events_of(plan)
    events.sort(key=lambda event: event.occurred_at + Random(event.event_id).randrange(40_000_000_000))

    for at in range(0, len(events), 40):
        if any(event.occurred_at >= change for event in events[at : at + 40]):
            stack.rulebook = both
        stack.post(*events[at : at + 40])
        stack.flusher.flush()

    report = audit(stack)
    assert report.differences == []
    assert report.rows_equal == stack.count("user_goal_progress")


@pytest.mark.parametrize("last", ["keep", "restart", "grandfather"])
def test_users_who_stayed_on_a_version_are_right_although_there_are_others_since(redis, engine, last):
    days = [NOON - timedelta(days=day) for day in (4, 3, 2, 1)]
    known = []
    stack = Stack(redis, engine)
    for version, policy in enumerate(("keep", "grandfather", last), start=1):
        rules = parse_stored(document(5 + version, on_change=policy))
        versions = {goal.goal_id: version if goal.goal_id == "lessons" else 1 for goal in rules.goals}
        began = microseconds(days[version - 1]) if version > 1 else 0
        known.append(Publication(version, began, rules.with_versions(versions)))
        stack.rulebook = Publications(tuple(known))
        for user, since, until in (("gone", 1, 2), ("early", 1, 3), ("middle", 2, 3), ("late", 3, 3)):
            for day in range(since - 1, min(version, until) if version <= until else 0):
                stack.post(stack.event("lesson", user, at=days[day] + timedelta(hours=version)))
    stack.post(stack.event("lesson", "middle", at=days[1]))
    stack.flusher.flush()

    report = audit(stack)

    assert report.differences == []
    assert report.users == 4


@pytest.mark.parametrize(
    ("change", "what", "expected", "found"),
    [
        ("progress = progress + 1", "progress", 5, 6),
        ("rule_version = 7", "rule_version", 1, 7),
        ("state = '[9]'", "state", [5], [9]),
        ("slots = '[1]'", "slots", [], [1]),
        ("status = 'in_progress', completed_at = NULL", "status", "completed", "in_progress"),
        ("is_part = true", "is_part", False, True),
        ("reached_at = NULL", "is_reached", True, False),
    ],
)
def test_a_row_altered_by_hand_is_named_with_both_values(mixed, change, what, expected, found):
    mixed.post(*(mixed.event("lesson", "ada", payload=b'{"course":"c1"}') for _ in range(5)))
    mixed.flusher.flush()
    assert sql(mixed, f"UPDATE user_goal_progress SET {change} WHERE goal_id = 'lessons'") == 1

    (difference,) = audit(mixed).differences

    assert difference == ("t1", "ada", "lessons", "", what, expected, found)


def test_the_moment_of_completion_is_compared_where_it_has_only_one(mixed):
    mixed.post(mixed.event("statistic:level", "ada", value=12), *(mixed.event("lesson", "ada") for _ in range(5)))
    mixed.flusher.flush()
    sql(mixed, "UPDATE user_goal_progress SET completed_at = completed_at + interval '1 s' WHERE status = 'completed'")

    differing = {(difference.goal_id, difference.what) for difference in audit(mixed).differences}

    assert ("level", "completed_at") in differing
    assert ("lessons", "completed_at") not in differing


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM unlocks WHERE goal_id = 'level'", ("level", "", "unlock", "unlocked", "missing")),
        ("UPDATE unlocks SET goal_id = 'fast'", ("fast", "", "unlock", "missing", "unlocked")),
        ("DELETE FROM user_goal_progress WHERE goal_id = 'level'", ("level", "", "row", "12 completed", "missing")),
        ("DELETE FROM events", ("level", "", "row", "missing", "12 completed")),
    ],
)
def test_what_is_missing_on_either_side_is_named(mixed, statement, expected):
    mixed.post(mixed.event("statistic:level", "ada", value=12))
    mixed.flusher.flush()
    sql(mixed, statement)

    assert ("t1", "ada", *expected) in audit(mixed).differences


def test_a_deleted_event_is_a_difference_of_its_user_alone(mixed):
    post(mixed, plan_of())
    with mixed.engine.begin() as connection:
        user = connection.exec_driver_sql(
            "DELETE FROM events WHERE event_id = (SELECT event_id FROM events WHERE event_type = 'workout' LIMIT 1)"
            " RETURNING user_id"
        ).scalar_one()

    report = audit(mixed)

    assert {difference.user_id for difference in report.differences} == {user}
    assert ("minutes", "progress") in {(difference.goal_id, difference.what) for difference in report.differences}


def test_one_user_and_a_sample_can_be_looked_at_alone(mixed):
    post(mixed, plan_of())
    sql(mixed, "UPDATE user_goal_progress SET progress = progress + 1 WHERE user_id = 'lt-a-3' AND goal_id = 'minutes'")

    assert audit(mixed, Scope(user=("t1", "lt-a-3"))).difference_count == 1
    assert audit(mixed, Scope(user=("t1", "lt-a-4"))).difference_count == 0
    assert audit(mixed, Scope(user=("t2", "lt-a-3"))).rows_equal == 0
    assert audit(mixed, Scope(sample=4)).users == 4
    assert audit(mixed, Scope(sample=10_000)).users == USERS


def test_many_differences_are_counted_and_the_first_are_named(mixed):
    post(mixed, plan_of(3_000))
    sql(mixed, "UPDATE user_goal_progress SET progress = progress + 1")

    report = audit(mixed)

    assert len(report.differences) == SHOWN
    assert report.difference_count == mixed.count("user_goal_progress")


def test_a_user_that_differs_has_time_to_become_equal(mixed, monkeypatch):
    mixed.post(mixed.event("lesson", "ada"))
    mixed.flusher.flush()
    sql(mixed, "UPDATE user_goal_progress SET progress = 2 WHERE goal_id = 'lessons'")

    def arrive(_seconds):
        sql(mixed, "UPDATE user_goal_progress SET progress = 1 WHERE goal_id = 'lessons'")

    monkeypatch.setattr("tasks.audit.audit.sleep", arrive)
    report = audit(mixed, grace=timedelta(seconds=30))

    assert (report.users, report.difference_count) == (1, 0)


def test_rows_of_goals_that_no_publication_has_are_skipped_and_counted(mixed):
    mixed.post(mixed.event("lesson", "ada"))
    mixed.flusher.flush()
    sql(mixed, "UPDATE user_goal_progress SET goal_id = 'gone' WHERE goal_id = 'lessons'")

    report = audit(mixed)

    assert report.skipped == {"goal is in no publication": 1}
    assert [difference.what for difference in report.differences] == ["row"]


def test_users_whose_events_may_have_been_dropped_are_skipped_and_counted(mixed):
    mixed.post(mixed.event("lesson", "ada"))
    mixed.flusher.flush()
    with open_log(mixed.engine) as log:
        kept_since = log.kept_since()
    assert kept_since is not None
    sql(mixed, f"UPDATE user_goal_progress SET progress = 7, created_at = '{kept_since - timedelta(hours=1)}'")

    report = audit(mixed)

    assert (report.skipped, report.differences) == ({"events are no longer all kept": 1}, [])
    assert report.users == 0
    assert audit(mixed, late_by=timedelta(days=9_999)).skipped == {"events are no longer all kept": 1}


def test_users_are_compared_as_long_as_nothing_was_old_enough_to_be_dropped(mixed):
    mixed.post(mixed.event("lesson", "ada"))
    mixed.flusher.flush()
    with open_log(mixed.engine) as log:
        kept_since = log.kept_since()
    assert kept_since is not None
    late_by, age = timedelta(days=9_999), datetime.now(UTC) - kept_since

    assert audit(mixed, late_by=late_by, retention=age + timedelta(days=1)).users == 1
    assert audit(mixed, late_by=late_by, retention=age - timedelta(hours=1)).users == 0


def test_the_log_is_read_in_the_order_of_its_keys_without_sorting_it_as_a_whole(mixed):
    post(mixed, plan_of())
    with mixed.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL enable_sort = off")
        lines = connection.exec_driver_sql(
            f"EXPLAIN {statement('replay_events')}", {"since": None, "until": None}
        ).scalars()
        plan = "\n".join(lines)

    assert "Incremental Sort" in plan
    assert "Merge Append" in plan
    assert not any(line.strip(" ->").startswith("Sort  (") for line in plan.splitlines())


@pytest.fixture
def command(engine, monkeypatch, tmp_path):
    """``questline audit`` on the database of the test, whose rules are published."""
    publish(engine, Document(document(), RULES, "mixed.json"), now_us=microseconds(NOON))
    use_database(monkeypatch, engine, tmp_path)
    return lambda *options: CliRunner().invoke(app, ["audit", "--settle", "10ms", *options])


def test_the_command_ends_with_0_where_all_is_equal_and_with_1_on_drift(mixed, command):
    plan = plan_of()
    post(mixed, plan)

    good = command("--all", "--json")
    sql(mixed, "UPDATE user_goal_progress SET progress = progress + 1 WHERE user_id = 'lt-a-3' AND goal_id = 'minutes'")
    bad = command()

    answer = json.loads(good.stdout)
    assert (good.exit_code, answer["ok"], answer["events"]) == (0, True, plan.distinct)
    assert bad.exit_code == 1
    named, summary = bad.stdout.splitlines()
    assert named.startswith("t1 lt-a-3 minutes: progress must be ")
    assert "25 users" in summary
    assert "1 differences" in summary
    assert command("--user", "lt-a-3", "--tenant", "t1").exit_code == 1
    assert command("--user", "lt-a-4", "--tenant", "t1").exit_code == 0


def test_the_command_refuses_two_scopes_and_a_grace_that_is_no_duration(command):
    assert command("--user", "u", "--all").exit_code == 2
    assert command("--settle", "soon").exit_code == 2
