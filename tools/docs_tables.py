"""Writes the tables of the docs: ``python -m tools.docs_tables [--check]``.

A page says by a pair of comments where a table belongs; what stands between them is replaced. With ``--check`` nothing
is written, and a stale page is an error.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from config.settings import Settings
from models.declarations.error_codes import EventCode, ProblemKind
from models.declarations.log_events import LOG_EVENTS
from models.declarations.metrics import DECLARED, Counter, Gauge
from models.errors import Bound

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
_UNITS = {"d": timedelta(days=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1), "ms": timedelta(milliseconds=1)}
_MAX_LOCATION = re.compile(r"(<!-- table (\w+): .*? -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)


def main() -> None:
    """Write what is stale, or with ``--check`` name it and fail."""
    pages = {page: page.read_text() for page in sorted(PAGES.glob("*.md"))}
    stale = {page: new for page, text in pages.items() if (new := written(text)) != text}
    if "--check" not in sys.argv[1:]:
        for page, text in stale.items():
            page.write_text(text)
    elif stale:
        names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
        sys.exit(f"not what the code says, run make docs-tables: {names}")


def written(page: str) -> str:
    """The text of a page with its tables as the code has them."""
    return _MAX_LOCATION.sub(lambda index: f"{index[1]}\n{TABLES[index[2]]()}\n{index[4]}", page)


def _settings() -> str:
    fields = zip(Settings.names(), Settings.model_fields.values(), strict=True)
    rows = ((f"`{name}`", _spelled(field.default), field.description or "") for name, field in fields)
    return _table(("Name", "Default", "Meaning"), rows)


def _spelled(default: Any) -> str:
    """A default as it would be written into the environment."""
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, timedelta):
        unit, length = next((unit, length) for unit, length in _UNITS.items() if not default % length)
        return f"`{default // length}{unit}`"
    if isinstance(default, Path) and default.is_absolute():
        return f"`{default.relative_to(ROOT)}`"
    return f"`{default}`"


def _metrics() -> str:
    rows = []
    for metric in DECLARED:
        labels, known = "", ""
        if isinstance(metric, Counter) and metric.label is not None:
            labels, known = f"`{metric.label}`", ", ".join(f"`{value}`" for value in metric.known)
        elif isinstance(metric, Gauge):
            labels = ", ".join(f"`{label}`" for label in metric.labels)
        meaning = f"{metric.help}: {known}" if known else metric.help
        rows.append((f"`{metric.name}`", type(metric).__name__.lower(), labels, meaning))
    return _table(("Name", "Type", "Labels", "Meaning"), rows)


def _bounds() -> str:
    return _table(("Bound", "Reached when"), ((f"`{bound}`", bound.explanation) for bound in Bound))


def _log_events() -> str:
    rows = []
    for event in LOG_EVENTS:
        fields = ", ".join("traceback" if field == "exc_info" else f"`{field}`" for field in event.fields)
        rows.append((f"`{event.name}`", ", ".join(event.levels), fields, event.meaning))
    return _table(("Message", "Level", "Fields", "Meaning"), rows)


def _event_codes() -> str:
    return _table(("Code", "What is wrong with the field"), ((f"`{code}`", code.meaning) for code in EventCode))


def _problems() -> str:
    rows = ((f"`{kind}`", str(kind.status), kind.meaning, kind.advice) for kind in ProblemKind)
    return _table(("`type` `urn:questline:problem:…`", "Status", "Meaning", "What to do"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": _settings,
    "metrics": _metrics,
    "bounds": _bounds,
    "log_events": _log_events,
    "event_codes": _event_codes,
    "problems": _problems,
}


if __name__ == "__main__":
    main()
