# ruff: noqa: INP001 - a script beside the packages, not part of one
"""Prints a release's part of CHANGELOG.md; refuses a tag of another version.

``python deploy/release_notes.py v1.2.3``, in the workflow that a pushed tag starts. Needs nothing but Python 3.11.
"""

import re
import sys
import tomllib
from pathlib import Path


def release_notes(tag: str, version: str, changelog: str) -> str:
    """The section of this version.

    Raises:
        SystemExit: the tag is of another version, or the changelog has no section of it.
    """
    if tag != f"v{version}":
        sys.exit(f"the tag is {tag}, but pyproject.toml says {version}")
    found = re.search(rf"(?ms)^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |^\[|\Z)", changelog)
    if found is None or not found[1].strip():
        sys.exit(f"CHANGELOG.md says nothing of {version}")
    return found[1].strip()


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    print(release_notes(sys.argv[1], project["version"], (root / "CHANGELOG.md").read_text()))  # noqa: T201
