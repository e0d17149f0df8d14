"""The commands about one user: what they ask the receiver, and what they show."""

import json
import unicodedata
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app, main
from models.errors import InvalidAttributesError, PermanentError, ReceiverUnavailableError

GOAL: dict[str, Any] = {
    "challenge_id": "c",
    "goal_id": "onboarding",
    "name": "Onboarding",
    "description": "",
    "rule": "all([profile, count(invited) >= 3])",
    "period": "",
    "progress": 1,
    "target": 2,
    "status": "in_progress",
    "completed_at": None,
    "locked": True,
    "prerequisites": ["signup"],
    "hidden": False,
    "secret": False,
    "active_from": None,
    "active_until": None,
    "parts": [
        {"goal_id": "profile", "rule": None, "progress": 1, "target": 1, "status": "completed", "parts": []},
        {"goal_id": None, "rule": "count(invited) >= 3", "progress": 2, "target": 3, "status": "in_progress",
         "parts": [{"goal_id": None, "rule": None, "progress": None, "target": None, "status": "not_started",
                    "parts": []}]},
    ],
    "rule_version": 1,
}  # fmt: skip
SECRET = GOAL | {
    "goal_id": "s", "name": "Secret goal", "progress": None, "target": None, "secret": True, "locked": False,
    "status": "not_started", "parts": [],
}  # fmt: skip
NO_VALUE = GOAL | {"goal_id": "m", "name": "Fast", "progress": None, "target": 60, "locked": False, "parts": []}


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


def lines(output):
    return [" ".join(line.split()) for line in output.splitlines()]


def test_progress_shows_locks_parts_and_secrets(receiver):
    receiver.answer = (200, {"user_id": "ada", "tenant_id": "t1", "goals": [GOAL, SECRET, NO_VALUE]})

    answer = run("progress", "ada", "--tenant", "t1")

    assert answer.exit_code == 0, answer.output
    shown = lines(answer.output)
    assert any(line.startswith("Onboarding") and line.endswith("1 / 2 in_progress (locked)") for line in shown)
    assert any(line.startswith("count(invited) >= 3") and line.endswith("2 / 3 in_progress") for line in shown)
    assert any(line.startswith("profile") and line.endswith("1 / 1 completed") for line in shown)
    assert "a hidden goal not_started" in shown
    assert "Secret goal not_started (secret)" in shown
    assert any(line.startswith("Fast") and "- / 60" in line for line in shown)
    indents = {line.split()[0]: len(line) - len(line.lstrip()) for line in answer.output.splitlines() if line.strip()}
    assert indents["Onboarding"] < indents["profile"] == indents["count(invited)"] < indents["a"]


def filled(output, name):
    """How many cells of a goal's bar are full."""
    return sum(line.count("\u2501") for line in output.splitlines() if line.split()[:1] == [name])


def test_the_bar_of_a_min_goal_fills_as_the_value_comes_down(receiver):
    stands: list[dict[str, Any]] = [
        {"goal_id": "far", "progress": 120, "target": 60},
        {"goal_id": "near", "progress": 70, "target": 60},
        {"goal_id": "there", "progress": 40, "target": 60, "status": "completed"},
        {"goal_id": "below-zero", "progress": 5, "target": -1},
    ]
    goals = [GOAL | {"name": stand["goal_id"], "rule": "min(race) <= 60", "parts": []} | stand for stand in stands]
    part = dict(goals[0], rule=None, parts=[])
    goals.append(GOAL | {"goal_id": "both", "name": "both", "rule": "all([far, near])", "parts": [part]})
    receiver.answer = (200, {"user_id": "ada", "tenant_id": "t1", "goals": goals})

    answer = run("progress", "ada")

    assert answer.exit_code == 0, answer.output
    assert filled(answer.output, "far") == 12  # half a bar each, as a goal and as a part
    assert 6 < filled(answer.output, "near") < 12
    assert filled(answer.output, "there") == 12
    assert filled(answer.output, "below-zero") == 0


def test_progress_can_reveal(receiver):
    receiver.answer = (200, {"user_id": "ada", "tenant_id": "t1", "goals": []})

    run("progress", "ada", "--tenant", "t1", "--reveal")

    assert receiver.calls == [("GET", "/v1/users/ada/progress?tenant_id=t1&reveal=true", None)]


def test_attributes_are_shown(receiver):
    receiver.answer = (200, {"plan": "pro", "seats": 5})

    answer = run("attributes", "get", "a/b", "--tenant", "t1")

    assert receiver.calls == [("GET", "/v1/users/a%2Fb/attributes?tenant_id=t1", None)]
    assert 'plan "pro"' in lines(answer.output)
    assert "seats 5" in lines(answer.output)
    assert json.loads(run("attributes", "get", "a/b", "--json").output) == {"plan": "pro", "seats": 5}
    receiver.answer = (200, {})
    assert "no attributes" in run("attributes", "get", "ada").output


def test_attributes_are_set_with_the_types_they_look_like(receiver):
    receiver.answer = (200, {})

    run(
        "attributes",
        "set",
        "ada",
        "plan=pro",
        "seats=5",
        "score=-1.5",
        "beta=true",
        'code="5"',
        "x=null",
        "y=[1]",
        "z=",
    )

    ((method, path, body),) = receiver.calls
    assert (method, path) == ("PUT", "/v1/users/ada/attributes?tenant_id=default")
    assert body == {
        "plan": "pro", "seats": 5, "score": -1.5, "beta": True, "code": "5", "x": "null", "y": "[1]", "z": "",
    }  # fmt: skip


def test_setting_nothing_removes_everything(receiver):
    receiver.answer = (200, {})

    assert run("attributes", "set", "ada").exit_code == 0
    assert receiver.calls[0][2] == {}


@pytest.mark.parametrize(("status", "error"), [(422, PermanentError), (503, ReceiverUnavailableError)])
def test_a_refusal_is_told_in_the_receivers_words(receiver, status, error):
    receiver.answer = (status, {"detail": "plan must be a string"})

    answer = run("attributes", "set", "ada", "plan=pro")

    assert isinstance(answer.exception, error)
    assert "plan must be a string" in str(answer.exception)


def test_an_attribute_without_a_value_is_refused(receiver):
    answer = run("attributes", "set", "ada", "plan")

    assert isinstance(answer.exception, InvalidAttributesError)
    assert receiver.calls == []


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_what_a_sender_wrote_does_not_command_the_terminal(receiver, as_json):
    receiver.answer = (200, {"plan": "\x9b2J\x1b[31m"})
    attributes = run("attributes", "get", "ada", *as_json).output
    receiver.answer = (200, {"user_id": "a\x9b2J", "tenant_id": "t1", "goals": [GOAL | {"name": "\x1b[2Jall"}]})
    for shown in (attributes, run("progress", "ada", *as_json).output):
        assert not [one for one in shown if unicodedata.category(one) == "Cc" and one != "\n"]
        assert "9b2J" in shown


def test_a_refusal_does_not_command_the_terminal(receiver, monkeypatch, capsys):
    receiver.answer = (403, {"detail": "no\x9b2J\x1b[31m"})
    monkeypatch.setattr("sys.argv", ["questline", "progress", "ada"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert "9b2J" in said
    assert not [one for one in said if unicodedata.category(one) == "Cc" and one != "\n"]
