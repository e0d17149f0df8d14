"""``questline rules validate``."""

import json

import pytest
from typer.testing import CliRunner

from cli import app
from cli.database import read_document
from config.settings import Settings
from models.errors import ConfigurationError


def validate(*arguments):
    return CliRunner().invoke(app, ["rules", "validate", *map(str, arguments)])


@pytest.fixture
def wrong(tmp_path):
    """A file with two faults."""
    path = tmp_path / "wrong.json"
    goal = {"id": "g", "type": "x", "event_source": "login", "requirement": {"target": 0}}
    path.write_text(json.dumps({"challenges": [{"id": "c", "goals": [goal]}]}))
    return path


def test_the_shipped_file_has_no_faults():
    answer = validate(Settings().challenges_file)

    assert answer.exit_code == 0
    assert answer.output.rstrip().endswith("5 challenges, 20 goals on 12 event types, no faults")


def test_each_fault_is_a_line_and_the_exit_code_is_1(wrong):
    answer = validate(wrong)

    assert answer.exit_code == 1
    assert answer.output.splitlines() == [
        f"{wrong}: challenge 'c', goal 'g': type: must be absolute, increment or daily, is 'x'",
        f"{wrong}: challenge 'c', goal 'g': requirement.target: must be greater than 0, is 0",
    ]


def test_the_answer_can_be_json(wrong):
    good, bad = validate(Settings().challenges_file, "--json"), validate(wrong, "--json")

    said = json.loads(good.output)
    cost = said.pop("cost")
    assert said == {"valid": True, "challenges": 5, "goals": 20, "event_types": 12}
    assert cost["limit"] == {"steps": 1_000, "bytes": 524_288}
    assert len(cost["event_types"]) == 12
    assert json.loads(bad.output)["valid"] is False
    assert len(json.loads(bad.output)["faults"]) == 2
    assert (good.exit_code, bad.exit_code) == (0, 1)


def test_a_file_that_cannot_be_read_is_said_so(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere.json: cannot be read: No such file or directory"):
        read_document(tmp_path / "nowhere.json")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_document(tmp_path)


def test_what_an_event_costs_is_said_and_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "dear.json"
    goals = [{"id": f"g{n}", "name": "g", "rule": f"count(tick) >= {n + 1}"} for n in range(20)]
    path.write_text(json.dumps({"challenges": [{"id": "c", "goals": goals}]}))
    fine = validate(path)
    assert fine.output.splitlines()[0].startswith("one event of tick costs at most 23 steps, ")
    monkeypatch.setenv("RULES_MAX_STEPS", "22")
    dear, data = validate(path), validate(path, "--json")
    assert (fine.exit_code, dear.exit_code, data.exit_code) == (0, 1, 1)
    assert "event type 'tick': one event may cost 23 steps" in dear.output
    assert "allowed are 22 (RULES_MAX_STEPS)" in dear.output
    assert json.loads(data.output)["faults"] == dear.output.splitlines()
