# ruff: noqa: INP001 - a script beside the packages, not part of one
"""What pip-audit found: ``pip-audit -f json | python advisories.py``.

Exit codes: 1 where an advisory exists for a pinned version, else 0. Advisories come from the network: where they cannot
be had, that is said, and nothing was audited.
"""

import json
import sys
from typing import Any


def findings(report: dict[str, Any]) -> tuple[list[str], int]:
    """The lines to print and the exit code, from pip-audit's report."""
    known = [package for package in report["dependencies"] if "skip_reason" not in package]
    if not known:
        return ["dependencies NOT audited: the advisories cannot be had from here (they need the internet)"], 0
    found = [
        f"{package['name']} {package['version']}: {entry['id']}, fixed in {', '.join(entry['fix_versions']) or 'none'}"
        for package in known
        for entry in package["vulns"]
    ]
    skipped = len(report["dependencies"]) - len(known)
    rest = f", {skipped} unknown to the advisories" if skipped else ""
    return [*found, f"{len(known)} dependencies audited{rest}: {len(found)} advisories"], 1 if found else 0


if __name__ == "__main__":
    text = sys.stdin.read()
    lines, code = findings(json.loads(text) if text.strip() else {"dependencies": []})
    print(*lines, sep="\n")  # noqa: T201 - what it is for
    sys.exit(code)
