"""The programs in examples/, each run as its reader runs it, on one product that has the goals of all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*/*.py"))


def test_there_are_four_short_examples():
    assert [path.parent.name for path in PROGRAMS] == ["fitness", "game", "learning", "onboarding"]
    assert all(len(path.read_text().splitlines()) < 100 for path in PROGRAMS)
    assert all((path.parent / "README.md").is_file() for path in PROGRAMS)


@pytest.mark.timeout(300)
def test_every_example_ends_as_it_says_and_a_second_run_changes_nothing(up, tmp_path):
    files = [json.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*/challenges.json"))]
    goals_of_all = tmp_path / "challenges.json"
    goals_of_all.write_text(
        json.dumps({"challenges": [challenge for file in files for challenge in file["challenges"]]})
    )
    run = up(CHALLENGES_FILE=str(goals_of_all))
    run.ready()
    url = json.loads(run.run("urls", "--json").stdout)["http"]
    for program in PROGRAMS:
        first, second = [_output(program, url) for _ in range(2)]
        assert first.returncode == 0, f"{program}: {first.stdout}{first.stderr}"
        assert second.stdout == first.stdout


def _output(program: Path, url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "QUESTLINE_URL": url}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
