"""``questline rules publish``, ``list``, ``show``, ``diff`` and ``history`` on real servers."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from cli import app
from models.errors import (
    ConfigurationError,
    InvalidChallengesError,
    PermanentError,
    RulesTooCostlyError,
    StateUnavailableError,
)
from models.rules.costs import Cost
from tests.support.environment import database_settings
from tests.support.publication import newest_revision

pytestmark = pytest.mark.slow

COUNT = {"op": "count", "event": "login", "target": 3}


@pytest.fixture
def run(engine, database_url, redis_url, tmp_path, monkeypatch):
    """The command line of an installation whose servers are the tests'."""
    told = {"QUESTLINE_DATA_DIR": str(tmp_path / "data"), "STATE_URL": redis_url, "COLUMNS": "200"}
    for name, value in (database_settings(database_url) | told).items():
        monkeypatch.setenv(name, value)

    def command(*arguments):
        answer = CliRunner().invoke(app, ["rules", *map(str, arguments)])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        assert answer.exit_code == 0, answer.output
        return answer.output

    return command


@pytest.fixture
def write(tmp_path):
    """Write a challenges file of one challenge; each goal is an id and its rule, and what else it says."""

    def file(name="rules.json", **goals):
        path = tmp_path / name
        written = [{"id": goal_id, "name": goal_id.title(), **said} for goal_id, said in goals.items()]
        path.write_text(json.dumps({"challenges": [{"id": "c", "goals": written}]}))
        return path

    return file


def _goal(target=3, **said):
    return {"rule": COUNT | {"target": target}, **said}


def test_a_publication_says_what_becomes_of_each_goal(run, write):
    steps = ["a", "b"]
    first = run("publish", write(logins=_goal(), old=_goal(), same=_goal(), steps={"rule": _sequence(*steps)}))
    assert first.splitlines() == [
        "logins  new v1", "old     new v1", "same    new v1", "steps   new v1",
        "one event of a costs at most 27 steps, 1,361 bytes", "one event of b costs at most 27 steps, 1,361 bytes",
        "one event of login costs at most 6 steps, 702 bytes", "revision 1, for all events",
    ]  # fmt: skip
    changed = write(logins=_goal(4, on_change="grandfather"), same=_goal(), steps={"rule": _sequence(*steps, "c")})
    lines = run("publish", changed).splitlines()
    assert [line for line in lines[:-1] if not line.startswith("one event of ")] == [
        "logins  changed v1 -> v2 (grandfather)",
        "same    unchanged v1",
        "steps   changed v1 -> v2 (restart, as progress cannot be kept across this change (keep was asked for))",
        "old     removed",
    ]
    assert lines[-1].startswith("revision 2, for events from 20")
    assert run("publish", changed) == f"{changed}: is what was published last; nothing to do\n"


def _sequence(*events):
    return {"op": "sequence", "events": list(events), "within": "7d"}


def test_a_publication_can_be_tried_and_set_ahead_and_answered_as_json(run, write, engine):
    run("publish", write(logins=_goal()))
    changed = write(logins=_goal(5))
    tried = json.loads(run("publish", changed, "--dry-run", "--json"))
    assert (tried["published"], tried["dry_run"], tried["revision"]) == (False, True, 2)
    assert run("publish", changed, "--dry-run").splitlines()[-1].startswith("would be revision 2, for events from")
    assert newest_revision(engine) == 1
    ahead = datetime.now(UTC).replace(year=2199, microsecond=0)
    done = json.loads(run("publish", changed, "--active-from", ahead.isoformat(), "--json"))
    assert (done["published"], done["active_from"]) == (True, ahead.isoformat())
    assert done["goals"] == [{"goal_id": "logins", "change": "changed", "version": 2, "policy": "keep"}]
    assert json.loads(run("publish", changed, "--json")) == {"published": False, "dry_run": False}


def test_nothing_is_published_while_workers_cannot_be_kept_back(run, write, engine, monkeypatch):
    run("publish", write(logins=_goal()))
    monkeypatch.setenv("STATE_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(StateUnavailableError):
        run("publish", write(logins=_goal(4)))
    assert newest_revision(engine) == 1
    assert "would be revision 2" in run("publish", write(logins=_goal(4)), "--dry-run")


def test_rules_that_cost_too_much_are_refused_with_their_cost(run, write, engine, monkeypatch):
    run("publish", write(logins=_goal()))
    many = {f"g{n}": _goal(n + 1) for n in range(30)}
    monkeypatch.setenv("RULES_MAX_STEPS", "32")
    with pytest.raises(RulesTooCostlyError, match=r"'login': one event may cost 33 steps .* are 32 \(RULES_"):
        run("publish", write(**many))
    monkeypatch.setenv("RULES_MAX_STEPS", "33")
    monkeypatch.setenv("RULES_MAX_BYTES", "1024")
    with pytest.raises(RulesTooCostlyError, match=r"1,024 \(RULES_MAX_BYTES\)"):
        run("publish", write(**many), "--dry-run")
    assert newest_revision(engine) == 1
    monkeypatch.setenv("RULES_MAX_BYTES", "65536")
    said = json.loads(run("publish", write(**many), "--json"))
    assert said["cost"]["event_types"]["login"]["steps"] == 33
    assert said["cost"]["limit"] == {"steps": 33, "bytes": 65_536}


def test_progress_that_versions_carry_on_counts_as_cost(run, write, monkeypatch):
    """A late event moves the version of its time and those that go on from it."""
    monkeypatch.setattr("tasks.rules.costs.LATE_LIMIT", Cost(10, 1 << 20))
    for target in (1, 2, 3):
        run("publish", write(logins=_goal(target), other=_goal(target)))
    with pytest.raises(RulesTooCostlyError, match=r"'login': one event may cost 11 steps .* with the versions before"):
        run("publish", write(logins=_goal(4), other=_goal(4)))
    run("publish", write(logins=_goal(4), other=_goal(3)))


def test_what_cannot_be_published_is_said(run, write, tmp_path):
    run("publish", write(logins=_goal()))
    with pytest.raises(ConfigurationError, match=r"active_from: 2020-01-01T00:00:00\+00:00 is too early"):
        run("publish", write(logins=_goal(4)), "--active-from", "2020-01-01T00:00:00Z")
    for wrong, reason in (("tomorrow", "is not an ISO 8601"), ("2199-01-01T00:00:00", "needs an offset")):
        answer = CliRunner().invoke(app, ["rules", "publish", str(write(logins=_goal(4))), "--active-from", wrong])
        assert answer.exit_code == 2
        assert reason in answer.output
    with pytest.raises(InvalidChallengesError):
        run("publish", write(logins=_goal(-1)))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run("publish", tmp_path / "none.json")


def test_the_newest_publication_is_listed(run, write):
    with pytest.raises(PermanentError, match="nothing is published yet"):
        run("list")
    run("publish", write(logins=_goal(), later=_goal(2, active_from="2027-01-01T00:00:00Z")))
    run("publish", write(logins=_goal(7), later=_goal(2, active_from="2027-01-01T00:00:00Z")))
    told = run("list")
    assert "Revision 2" in told
    assert "from 2027-01-01T00:00:00+00:00" in told
    listed = json.loads(run("list", "--json"))
    assert listed["revision"] == 2
    assert [(goal["goal_id"], goal["version"], goal["op"], goal["rule"]) for goal in listed["goals"]] == [
        ("logins", 2, "count", "count(login) >= 7"), ("later", 1, "count", "count(login) >= 2"),
    ]  # fmt: skip


def test_a_version_is_shown_as_expression_and_as_json(run, write):
    run("publish", write(logins=_goal(), other=_goal(1, prerequisites=["logins"])))
    run("publish", write(logins=_goal(7), other=_goal(1, prerequisites=["logins"])))
    shown = json.loads(run("show", "logins", "--json"))
    assert (shown["version"], shown["policy"], shown["expression"], shown["rule"]) == (
        2, "keep", "count(login) >= 7", COUNT | {"target": 7},
    )  # fmt: skip
    first = run("show", "logins", "--version", "1")
    assert "count(login) >= 3" in first
    assert '"target": 3' in first
    assert 'prerequisites: ["logins"]' in run("show", "other")
    with pytest.raises(PermanentError, match="has no version 9, only 1 to 2"):
        run("show", "logins", "--version", "9")
    with pytest.raises(PermanentError, match="'nobody' was never published"):
        run("show", "nobody")


def test_files_publications_and_versions_are_compared_field_by_field(run, write):
    one = write("one.json", logins=_goal(), gone=_goal())
    two = write("two.json", logins=_goal(7, name="Come back", hidden=True), added=_goal())
    expected = [
        "goal logins:",
        '  name: "Logins" -> "Come back"',
        "  rule.target: 3 -> 7",
        "  hidden: false -> true",
        "goal gone: removed",
        "goal added: added",
    ]
    assert run("diff", one, two).splitlines() == expected
    run("publish", one)
    run("publish", two)
    assert run("diff", 1, 2).splitlines() == expected
    assert run("diff", one, 1) == "no differences\n"
    assert run("diff", "logins@1", "logins@2").splitlines() == expected[:3]
    assert json.loads(run("diff", "logins@1", "logins@2", "--json"))[1] == {
        "goal_id": "logins", "field": "rule.target", "before": 3, "after": 7,
    }  # fmt: skip
    with pytest.raises(PermanentError, match="there is no publication with this number"):
        run("diff", 1, 9)
    with pytest.raises(PermanentError, match="has no version 9"):
        run("diff", "logins@1", "logins@9")
    assert CliRunner().invoke(app, ["rules", "diff", "logins@1", "2"]).exit_code == 2


def test_a_goals_history_tells_what_changed_and_what_became_of_progress(run, write):
    for target, policy in ((3, "keep"), (4, "keep"), (5, "restart")):
        run("publish", write(logins=_goal(target, on_change=policy)))
    lines = run("history", "logins").splitlines()
    assert lines[0].startswith("v1  published 20")
    assert lines[0].endswith(", revision 1, holds from the beginning")
    assert lines[2].strip() == "rule.target: 3 -> 4"
    assert lines[3].endswith(", restart")
    told = json.loads(run("history", "logins", "--json"))
    assert [(version["version"], version["policy"]) for version in told] == [(1, None), (2, "keep"), (3, "restart")]
    assert told[2]["changes"] == [{"goal_id": "logins", "field": "rule.target", "before": 4, "after": 5}]


def test_without_a_database_the_command_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("DB_HOST", raising=False)
    answer = CliRunner().invoke(app, ["rules", "list"])
    assert "Questline is not running on" in str(answer.exception)


def test_a_database_without_our_tables_is_said_so(run, engine, database_url, monkeypatch):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS empty_rules WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE empty_rules")
    monkeypatch.setenv("DB_NAME", "empty_rules")
    try:
        with pytest.raises(PermanentError, match="run `questline migrate`"):
            run("list")
    finally:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("DROP DATABASE empty_rules WITH (FORCE)")
