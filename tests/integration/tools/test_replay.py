"""``questline replay``: the log again, into a schema of its own, the same each time."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from cli import app
from models.database.rules.publisher import Document
from models.rules.calendar import microseconds, to_datetime
from tasks.rules.publications import parse_stored
from tests.support.mixed_rules import RULES, document, plan_of, post, use_database
from tests.support.publication import publish
from tests.support.stack import NOON, Stack

pytestmark = pytest.mark.slow

COMPARED = "tenant_id, user_id, goal_id, period, challenge_id, progress, status, rule_version, state, slots, is_part"


@pytest.fixture
def mixed(redis, engine) -> Stack:
    """A stack on the mixed rules, after a mixed load."""
    stack = Stack(redis, engine, rulebook=RULES)
    post(stack, plan_of())
    return stack


@pytest.fixture
def command(engine, monkeypatch, tmp_path):
    """``questline replay`` on the database of the test, whose rules are published; sandboxes end with the test."""
    publish(engine, Document(document(), RULES, "mixed.json"), now_us=microseconds(NOON))
    use_database(monkeypatch, engine, tmp_path)
    yield lambda *options: CliRunner().invoke(app, ["replay", *options])
    with engine.begin() as connection:
        for schema in ("sandbox", "order", "foreign_schema"):
            connection.exec_driver_sql(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def replayed(command, *options):
    answer = command("--json", *options)
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def rows(stack, statement):
    with stack.engine.connect() as connection:
        return connection.exec_driver_sql(statement).all()


def test_two_replays_of_the_same_events_have_the_same_digest(mixed, command):
    first = replayed(command, "--into", "sandbox")
    second = replayed(command, "--into", "order")

    assert first["digest"] == second["digest"]
    assert len(first["digest"]) == 64
    assert (first["events"], first["users"]) == (mixed.count("events"), 25)
    assert (first["rows"], first["unlocks"]) == (mixed.count("sandbox.user_goal_progress"), mixed.count("unlocks"))
    assert mixed.count("sandbox.unlocks") == mixed.count("unlocks")


def test_a_replay_of_everything_gives_the_rows_of_the_live_tables(mixed, command):
    replayed(command, "--into", "sandbox")

    for one, other in (("public", "sandbox"), ("sandbox", "public")):
        differing = rows(
            mixed,
            f"SELECT {COMPARED} FROM {one}.user_goal_progress EXCEPT SELECT {COMPARED} FROM {other}.user_goal_progress",
        )
        assert differing == []


def test_another_set_of_events_has_another_digest(mixed, command):
    first = replayed(command, "--into", "sandbox")
    with mixed.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE event_id = 'a-7'")

    assert replayed(command, "--into", "sandbox", "--drop")["digest"] != first["digest"]


def test_a_stretch_of_time_replays_its_events_alone(mixed, command):
    noon_before = to_datetime(microseconds(NOON)) - timedelta(days=1)
    (expected,) = rows(mixed, f"SELECT count(*) FROM events WHERE occurred_at < '{noon_before}'")[0]

    before = replayed(command, "--into", "sandbox", "--to", noon_before.isoformat())
    after = replayed(command, "--into", "order", "--from", noon_before.isoformat())

    assert before["events"] == expected > 0
    assert before["events"] + after["events"] == mixed.count("events")


def test_another_challenges_file_says_what_would_have_been(mixed, command, tmp_path):
    file = tmp_path / "easier.json"
    file.write_bytes(document(lessons=1))
    statement = "SELECT count(*) FROM {}unlocks WHERE goal_id = 'lessons'"

    replayed(command, "--into", "sandbox", "--rules", str(file))

    assert rows(mixed, statement.format("sandbox.")) > rows(mixed, statement.format(""))


def test_the_live_tables_stay_as_they_are(mixed, command):
    before = rows(mixed, "SELECT * FROM user_goal_progress ORDER BY 1, 2, 3, 4")
    replayed(command, "--into", "sandbox")

    assert rows(mixed, "SELECT * FROM user_goal_progress ORDER BY 1, 2, 3, 4") == before


@pytest.mark.parametrize("name", ["public", "pg_replay", "information_schema", "Sandbox", "a b", "1st", "x" * 64, ""])
def test_a_name_that_is_no_sandbox_is_refused(engine, command, name):
    answer = command("--into", name)

    assert answer.exit_code != 0
    assert "--into" in str(answer.exception)


def test_a_schema_that_is_there_is_replaced_only_on_request_and_only_if_a_replay_made_it(mixed, command):
    replayed(command, "--into", "sandbox")
    again = command("--into", "sandbox")
    with mixed.engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA foreign_schema")
    foreign = command("--into", "foreign_schema", "--drop")

    assert str(again.exception) == "--into: the schema sandbox exists; name another, or add --drop"
    assert str(foreign.exception) == "--into: the schema foreign_schema was not made by a replay"
    assert replayed(command, "--into", "sandbox", "--drop")["rows"] > 0


@pytest.mark.parametrize(
    "options",
    [("--from", "yesterday"), ("--to", "2026-11-21T12:00:00"), ("--from", "2026-11-21Z", "--to", "2026-11-20Z")],
)
def test_a_time_that_cannot_be_is_refused(command, options):
    assert command("--into", "sandbox", *options).exit_code == 2


def test_an_empty_log_is_an_empty_sandbox(engine, command):
    answer = replayed(command, "--into", "sandbox")

    assert (answer["events"], answer["rows"], answer["unlocks"]) == (0, 0, 0)


def test_the_versions_of_a_change_are_replayed_as_they_were(redis, engine, command):
    stack = Stack(redis, engine, rulebook=RULES)
    post(stack, plan_of(600, 10))
    publish(engine, Document(document(9), parse_stored(document(9)), "mixed.json"), now_us=microseconds(NOON))

    replayed(command, "--into", "sandbox")

    assert rows(stack, "SELECT DISTINCT rule_version FROM sandbox.user_goal_progress") == [(1,)]
