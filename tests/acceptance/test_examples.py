"""The programs in examples/ and the commands of the tutorial, run as their reader runs them, on one product."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.product import Up
from tests.support.servers import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*/*.py"))
TUTORIAL = (ROOT / "docs/tutorial/first-achievement.md").read_text()


@pytest.fixture(scope="module")
def product(tmp_path_factory, ports):
    """A product with the shipped goals and those of all examples."""
    folder = tmp_path_factory.mktemp("product")
    files = [ROOT / "config/challenges.json", *sorted(EXAMPLES.glob("*/challenges.json"))]
    challenges = [challenge for path in files for challenge in json.loads(path.read_text())["challenges"]]
    (folder / "challenges.json").write_text(json.dumps({"challenges": challenges}))
    run = Up(folder, ports, CHALLENGES_FILE=str(folder / "challenges.json"))
    run.ready()
    yield run
    run.end()


def test_there_are_four_short_examples():
    assert [path.parent.name for path in PROGRAMS] == ["fitness", "game", "learning", "onboarding"]
    assert all(len(path.read_text().splitlines()) < 100 for path in PROGRAMS)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.parent.name)
def test_an_example_ends_as_its_page_says_and_a_second_run_changes_nothing(program, product):
    shown = re.findall(r"(?s)```text\n(.*?)```", (program.parent / "README.md").read_text())
    for _ in range(2):
        ended = _run(product, [sys.executable, str(program)], QUESTLINE_URL=_url(product))
        assert (ended.returncode, ended.stdout) == (0, shown[0]), ended.stderr


@pytest.mark.timeout(200)
def test_the_tutorial_answers_what_it_shows(product, tmp_path):
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".questline").symlink_to(product.data)
    for block, shown in re.findall(r"(?s)```bash\n(.*?)```(?:[^`]{0,200}```text\n(.*?)```)?", TUTORIAL):
        commands = block.replace("http://127.0.0.1:8000", _url(product))
        said = [_words(line) for line in shown.splitlines()]
        if re.match(r"\S+/questline (?:progress|audit)", block):
            wait_until(lambda: _says(product, commands, tmp_path, said), seconds=30, message=lambda: block)  # noqa: B023
        else:
            assert _says(product, commands, tmp_path, said), block


def test_the_sender_of_the_how_to_page_sends_and_tells_what_was_refused(product, tmp_path):
    (sender,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "docs/how-to/send-events.md").read_text())
    events = [
        {"event_id": "how-to-1", "event_type": "login", "user_id": "lin"},
        {"event_id": "how-to-2", "event_type": "login"},
    ]
    program = tmp_path / "sender.py"
    program.write_text(f"{sender}\n\nprint([refused['code'] for refused in send({events!r})], send({events[1:]!r}))\n")
    program.write_text(program.read_text().replace("http://127.0.0.1:8000", _url(product)))
    ended = _run(product, [sys.executable, str(program)])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("['missing_field'] [{'index': 0")


def _url(product: Up) -> str:
    url: str = json.loads(product.run("urls", "--json").stdout)["http"]
    return url


def _says(product: Up, commands: str, folder: Path, expected: list[str]) -> bool:
    """Whether some commands of the tutorial print these words, line by line."""
    ended = _run(product, ["bash", "-c", commands], folder)
    printed = _words(ended.stdout + ended.stderr)
    return all(line in printed for line in expected)


def _words(text: str) -> str:
    return " ".join(text.split())


def _run(product: Up, command: list[str], folder: Path = ROOT, **extra: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **product.environment, **extra}
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
