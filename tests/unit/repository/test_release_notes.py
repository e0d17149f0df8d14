"""The notes of a release, out of the changelog."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
release_notes = runpy.run_path(str(ROOT / "deploy" / "release_notes.py"))["release_notes"]


def test_the_notes_are_the_section_of_the_version():
    notes = release_notes("v0.1.0", "0.1.0", CHANGELOG)
    assert notes
    assert "## [" not in notes


def test_sections_before_and_after_are_left_out():
    changelog = "## [Unreleased]\nlater\n\n## [1.2.3] - 2026-01-01\n\n### Added\n- this\n\n## [1.2.2]\nold\n"
    assert release_notes("v1.2.3", "1.2.3", changelog) == "### Added\n- this"


@pytest.mark.parametrize(("tag", "version"), [("v1.0.0", "1.0.1"), ("1.0.0", "1.0.0")])
def test_a_tag_of_another_version_is_refused(tag, version):
    with pytest.raises(SystemExit, match=f"the tag is {tag}"):
        release_notes(tag, version, CHANGELOG)


def test_a_version_that_the_changelog_does_not_know_is_refused():
    with pytest.raises(SystemExit, match=r"says nothing of 9\.9\.9"):
        release_notes("v9.9.9", "9.9.9", CHANGELOG)
