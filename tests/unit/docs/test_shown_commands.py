"""Every command that a page shows is one, down to its options."""

import re
import shlex
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from cli import app

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown_commands(text):
    """What follows ``questline`` in blocks of commands, and in the text."""
    for block in re.findall(r"(?ms)^ *```(?:bash|sh|console)\n(.*?)^ *```", text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.findall(r"^\s*(?:\$ )?(?:\.venv/bin/)?questline ([a-z].*)", line)
    for said in re.findall(r"`(?:\.venv/bin/)?questline ([a-z][^`]*)`", re.sub(r"(?ms)^ *```.*?^ *```", "", text)):
        yield said.replace("\n", " ")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_has_the_options_that_it_shows(page):
    for shown in shown_commands(page.read_text()):
        words = shlex.split(shown, comments=True)
        command = get_command(app)
        while isinstance(command, TyperGroup) and words:
            name, found, words = command.resolve_command(command.make_context(None, [], resilient_parsing=True), words)
            assert found is not None, f"{shown}: there is no {name}"
            command = found
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        assert {word.split("=")[0] for word in words if word.startswith("-")} - known == set(), shown
