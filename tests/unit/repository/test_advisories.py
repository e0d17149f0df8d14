"""The findings of pip-audit's report."""

import runpy
from pathlib import Path

findings = runpy.run_path(str(Path(__file__).parents[3] / "deploy" / "advisories.py"))["findings"]

HARMLESS = {"name": "celery", "version": "5.7.0", "vulns": []}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}
BAD = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.10.1"]}]}


def test_an_advisory_fails_and_names_the_version_that_mends_it():
    lines, code = findings({"dependencies": [HARMLESS, BAD]})
    assert code == 1
    assert lines == ["jinja2 2.10: PYSEC-1, fixed in 2.10.1", "2 dependencies audited: 1 advisories"]


def test_what_could_not_be_audited_is_said():
    assert findings({"dependencies": [UNKNOWN]}) == (
        ["dependencies NOT audited: the advisories cannot be had from here (they need the internet)"],
        0,
    )
    assert findings({"dependencies": [HARMLESS, UNKNOWN]}) == (
        ["1 dependencies audited, 1 unknown to the advisories: 0 advisories"],
        0,
    )
