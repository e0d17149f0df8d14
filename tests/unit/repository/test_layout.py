"""Every folder of the product has one idea, said by its ``__init__``, and few files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LAYERS = ("config", "models", "web", "ingest", "api", "tasks", "worker", "cli", "tools")
FOLDERS = sorted(path.parent for layer in LAYERS for path in (ROOT / layer).rglob("__init__.py"))
MOST_FILES = 13
WIDE = {"models/rules": 16}
"""Folders that may have so many."""
COMPOSITION_ROOT_LINES = 1_500


def _name(folder):
    return str(folder.relative_to(ROOT))


def test_every_folder_with_modules_is_a_package():
    found = {path.parent for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    assert found == set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_folder_says_its_idea_in_one_line(folder):
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    idea = docstring.splitlines()[:1]
    assert idea
    assert idea[0].endswith(".")
    assert len(idea[0]) <= 116


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_folder_has_few_files(folder):
    modules = [path.name for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert len(modules) <= WIDE.get(_name(folder), MOST_FILES), modules


def test_the_composition_root_stays_small():
    lines = sum(len(path.read_text().splitlines()) for path in (ROOT / "worker").rglob("*.py"))
    assert lines <= COMPOSITION_ROOT_LINES
