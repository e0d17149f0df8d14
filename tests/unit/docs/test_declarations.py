"""What is declared once, held to the code that uses it and to the tables that are made from it."""

import ast
import re
from datetime import timedelta
from pathlib import Path

import pytest

from api.metrics.collector import FleetCollector
from config.settings import Settings
from models.declarations import metrics
from models.declarations.error_codes import EventCode, ProblemKind
from models.declarations.log_events import LOG_EVENTS
from models.state.progress.records import Records
from models.state.queue.journal import Journal, JournalBounds
from tools.docs_tables import PAGES, TABLES, written

ROOT = Path(__file__).parents[3]
FOLDERS = ("config", "models", "web", "ingest", "api", "tasks", "worker", "cli", "tools")
SOURCES = {path: path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
DECLARATIONS = set((ROOT / "models/declarations").glob("*.py"))
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
EVENTS = {event.name: event for event in LOG_EVENTS}


def used(constant):
    return any(re.search(rf"\b{constant}\b", text) for path, text in SOURCES.items() if path not in DECLARATIONS)


def logged():
    """Level, names, fields, and place of every call that logs; None among the fields where they are computed."""
    for path, text in SOURCES.items():
        for node in ast.walk(ast.parse(text)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in LEVELS or ast.unparse(node.func.value).rpartition(".")[2] not in {"log", "_log"}:
                continue
            [first] = node.args
            choices = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
            fields = {keyword.arg for keyword in node.keywords}
            fields |= {"exc_info"} if node.func.attr == "exception" else set()
            names = [choice.value for choice in choices if isinstance(choice, ast.Constant)]
            yield LEVELS[node.func.attr], names, fields, f"{path.relative_to(ROOT)}:{node.lineno}"


CALLS = list(logged())


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda path: path.name)
def test_the_tables_of_a_page_are_what_the_code_says(page):
    assert page.read_text() == written(page.read_text()), "run make docs-tables"


def test_every_table_has_a_page():
    pages = "".join(page.read_text() for page in PAGES.glob("*.md"))
    assert [name for name in TABLES if f"<!-- table {name}: " not in pages] == []


def test_a_table_that_is_stale_is_written_anew():
    fresh = (PAGES / "settings.md").read_text()
    assert written(fresh.replace("| `8000` |", "| `80` |")) == fresh


def test_every_setting_says_what_it_means():
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


def test_a_scrape_answers_what_is_declared_and_nothing_else(redis):
    journal = Journal(redis, shards=2, bounds=JournalBounds(65536), retry_after=timedelta(seconds=1))
    records = Records(redis, window=timedelta(days=1), record_ttl=timedelta(days=1))
    collector = FleetCollector(redis, 2, journal, records, lambda: None, lambda: 0)
    answered = {
        metric.name + ("_total" if metric.type == "counter" else ""): (metric.type, metric.documentation)
        for metric in collector.collect()
    }
    assert answered == {metric.name: (type(metric).__name__.lower(), metric.help) for metric in metrics.DECLARED}


def test_every_metric_that_is_declared_is_used():
    names = [name for name, value in vars(metrics).items() if isinstance(value, metrics.Declared)]
    assert len(names) == len(metrics.DECLARED)
    assert [name for name in names if not used(name)] == ["PUBLISH_FAILURES"]  # of releases before: it stays, at 0


def test_a_counter_is_counted_by_the_label_that_it_has():
    with pytest.raises(ValueError, match="counted with code"):
        metrics.EVENTS_REJECTED.field()
    with pytest.raises(ValueError, match="counted with no label"):
        metrics.UNLOCKS.field("gold")


def test_every_log_event_is_declared_at_its_level():
    assert len(CALLS) > 100
    wrong = [where for level, names, _, where in CALLS for name in names if level not in EVENTS[name].levels]
    assert wrong == []


def test_the_name_of_a_log_event_is_not_computed():
    assert [where for _, names, _, where in CALLS if not names] == []


def test_every_declared_log_event_is_logged_somewhere():
    assert set(EVENTS) == {name for _, names, _, _ in CALLS for name in names}
    assert len(EVENTS) == len(LOG_EVENTS)


def test_the_fields_of_a_log_event_are_those_that_are_logged():
    found: dict[str, set[str | None]] = {name: set() for name in EVENTS}
    for _, names, fields, _ in CALLS:
        for name in names:
            found[name] |= fields
    computed = {name for name, fields in found.items() if None in fields}
    assert {name: set(EVENTS[name].fields) for name in found if name not in computed} == {
        name: fields for name, fields in found.items() if name not in computed
    }


def test_only_the_declared_loggers_log():
    """A logger by another name would escape the tests above."""
    for path, text in SOURCES.items():
        assert set(re.findall(r"(\w+) = structlog\.get_logger\(", text)) <= {"log", "_log"}, path


@pytest.mark.parametrize("codes", [EventCode, ProblemKind])
def test_every_error_code_is_used_and_says_what_it_means(codes):
    assert [code for code in codes if not used(f"{codes.__name__}.{code.name}")] == []
    assert all(code.meaning for code in codes)
