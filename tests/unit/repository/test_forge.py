"""The files for the code forge: none of them runs here, so they are parsed and held to what they name."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE_TARGETS = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))


def _commands(workflow):
    """Every shell command of a workflow."""
    parsed = yaml.safe_load(workflow.read_text())
    return [step["run"] for job in parsed["jobs"].values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_only_targets_scripts_and_folders_that_exist(workflow):
    commands = "\n".join(_commands(workflow))
    assert set(re.findall(r"\bmake ([a-z-]+)", commands)) <= MAKEFILE_TARGETS
    assert all((ROOT / script).is_file() for script in re.findall(r"\bbash (\S+)", commands))
    assert all((ROOT / folder).is_dir() for folder in re.findall(r"(?<= )tests/\w+", commands))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_few_rights_and_ends(workflow):
    parsed = yaml.safe_load(workflow.read_text())
    assert parsed["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in parsed["jobs"].values())


def test_ci_tests_every_python_and_both_ends_of_the_servers_range():
    parsed = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    rows = parsed["jobs"]["tests"]["strategy"]["matrix"]["include"]
    assert {row["python"] for row in rows} == {"3.11", "3.12", "3.13"}
    assert {row["postgres"] for row in rows} == {"15", "18"}
    assert {row["state"].partition(":")[0] for row in rows} == {"redis", "valkey/valkey"}


def test_what_a_commit_runs_is_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = re.search(r"(?m)^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text())
    tools = {hook["entry"].split()[0].rpartition("/")[2] for hook in hooks}
    assert lint is not None
    assert tools == set(re.findall(r"\$\(BIN\)/([\w-]+)", lint[1]))


def test_the_dev_container_forwards_the_ports_that_the_product_listens_on():
    parsed = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert parsed["forwardPorts"] == [8000, 6566, 8081, 5555]


@pytest.mark.parametrize("form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.name)
def test_an_issue_form_is_complete(form):
    parsed = yaml.safe_load(form.read_text())
    if form.name != "config.yml":
        assert {"name", "description", "body"} <= set(parsed)
