"""The documents, held to the code: tables, commands, metrics, codes and paths cannot drift apart."""

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics.collector import FleetCollector
from cli import VERBS
from config.settings import Settings
from ingest import validation
from models.database.tables import metadata
from models.dead_letter_reasons import Reason
from models.errors import Bound
from models.state import keys
from models.state.progress.records import Records
from models.state.queue.journal import Journal, JournalBounds

ROOT = Path(__file__).parents[3]
PAPERS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "examples/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]
PROMISES = [f"P{number}" for number in (*range(1, 13), 14)]
UNITS = {"d": timedelta(days=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1), "ms": timedelta(milliseconds=1)}


def text_of(paper: str) -> str:
    return (ROOT / paper).read_text()


def table(paper: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of this name, without its two head lines."""
    section = re.split(rf"(?m)^#+ {re.escape(heading)}.*$", text_of(paper))[1]
    lines = re.search(r"(?m)(?:^\|.*\n)+", section)
    assert lines is not None, f"no table below {heading!r}"
    rows = [line.strip("|").split(" | ") for line in lines[0].splitlines()[2:]]
    return [[cell.strip() for cell in row] for row in rows]


def code(cell: str) -> str:
    return cell.strip("`")


def spelled(value: Any) -> str:
    """A default as the settings table writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        unit, length = next((unit, length) for unit, length in UNITS.items() if not value % length)
        return f"`{value // length}{unit}`"
    if isinstance(value, Path) and value.is_absolute():
        return f"`{value.relative_to(ROOT)}`"
    return f"`{value}`"


def section(paper: str, title: str) -> str:
    """The text below a heading that begins with these words, up to the next heading."""
    found = re.search(rf"(?ms)^#+ {re.escape(title)}\b.*?$(.*?)(?=^#|\Z)", text_of(paper))
    assert found is not None, title
    return found[1]


def test_the_settings_table_is_the_settings():
    rows = {code(name): default for name, default, _ in table("README.md", "Settings")}
    defaults = [spelled(field.default) for field in Settings.model_fields.values()]
    assert rows == dict(zip(Settings.names(), defaults, strict=True))


def test_every_setting_says_what_it_means():
    assert all(meaning.endswith((".", ")")) for _, _, meaning in table("README.md", "Settings"))


def test_the_commands_table_is_the_command_line():
    rows = {code(verb): purpose for verb, purpose in table("docs/reference/commands.md", "Commands")}
    assert rows == {name: verb.purpose for name, verb in VERBS.items()}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_command_a_paper_shows_is_a_verb(paper):
    shown = re.findall(r"(?:`|bin/)questline ([a-z][a-z-]*)", text_of(paper))
    assert set(shown) <= set(VERBS)


def test_the_metrics_table_is_what_a_scrape_answers(redis):
    journal = Journal(redis, shards=2, bounds=JournalBounds(65536), retry_after=timedelta(seconds=1))
    records = Records(redis, window=timedelta(days=1), record_ttl=timedelta(days=1))
    collector = FleetCollector(redis, 2, journal, records, lambda shards: [0] * shards, lambda: 0)
    answered = {
        metric.name + ("_total" if metric.type == "counter" else ""): metric.type for metric in collector.collect()
    }
    assert {code(name): kind for name, kind, _ in table("README.md", "Metrics")} == answered


@pytest.mark.parametrize("paper", PAPERS)
def test_every_metric_a_paper_names_exists(paper):
    known = {code(name) for name, *_ in table("README.md", "Metrics")}
    named = re.findall(r"\b(?:questline_[a-z_]+|challenge_event_handler_[a-z_]+)\b", text_of(paper))
    assert set(named) - known == set()


def test_the_codes_of_refusals_are_those_of_the_receiver():
    documented = re.findall(r"(?m)^\| ``(\w+)`` \| (.+) \|$", validation.__doc__ or "")
    assert documented
    rows = [(code(name), meaning.replace("`", "")) for name, meaning in table("README.md", "Answers")]
    assert rows == [(name, meaning.replace("`", "")) for name, meaning in documented]


def test_the_reasons_of_dead_letters_are_in_their_paper():
    assert set(re.findall(r"(?m)^\| `(\w+)` \| `", section("docs/reference/dead-letters.md", "Reasons"))) == set(Reason)


def test_every_redis_key_is_in_the_table():
    known = " ".join(re.findall(r"(?m)^\| (`.*?) \|", text_of("docs/reference/redis-keys.md"))).replace(
        "{sNN}", "{s07}"
    )
    made = {*keys.shard_keys(7), keys.METERS, keys.FLUSH_LOCK, keys.FLUSH_ASKED, keys.DEAD_DEPTH}
    made |= {keys.WORKERS, keys.lease_key(7), keys.TICKS, keys.PROBE, keys.POISON}
    assert {key for key in made if f"`{key}`" not in known} == set()
    assert f"`{keys.API_KEYS}`" in known
    assert "`ql:{s07}:u:<tenant>:<user>`" in known
    assert keys.record_key(7, keys.member("<tenant>", "<user>")) == "ql:{s07}:u:<tenant>:<user>"
    assert f"`{keys.tries_key(7, '<batch>')}`" in known
    assert f"`{keys.attributes_key(7, keys.member('<tenant>', '<user>'))}`" in known


@pytest.mark.parametrize("name", list(metadata.tables))
def test_every_column_of_a_table_is_on_its_page(name):
    rows = re.findall(r"(?m)^\| (`.*?) \|", section("docs/reference/database-tables.md", name))
    documented = [column for cell in rows for column in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(metadata.tables[name].columns.keys())


@pytest.mark.parametrize(
    ("heading", "extras"), [("Why each dependency", ["embedded"]), ("Tools for development", ["dev"])]
)
def test_every_dependency_has_its_reason(heading, extras):
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    wanted = [requirement for extra in extras for requirement in project["optional-dependencies"][extra]]
    wanted += project["dependencies"] if "dev" not in extras else []
    names = {re.split(r"[\[>=<~ ]", requirement)[0] for requirement in wanted}
    explained = ", ".join(row[0] for row in table("docs/reference/dependencies.md", heading))
    assert names == set(re.sub(r"\(.*?\)", "", explained).replace(" ", "").split(","))


@pytest.mark.parametrize("paper", PAPERS)
def test_every_link_leads_somewhere(paper):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text_of(paper)) if not link.startswith("https://")]
    assert [link for link in links if not _leads_somewhere(ROOT / paper, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not anchor or not target.exists():
        return target.exists()
    headings = re.findall(r"(?m)^#+ (.+)$", target.read_text())
    return anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("paper", PAPERS)
def test_every_path_a_paper_names_exists(paper):
    rooms = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = re.findall(rf"`((?:{rooms})/[^`\s]*|\.ci/run|[\w.-]+\.(?:toml|txt|md|yml))`", text_of(paper))
    patterns = {"migrations/versions/NNNN_what_it_does.py"}
    assert [path for path in named if path not in patterns and not (ROOT / path).exists()] == []


def test_every_promise_is_explained_and_guarded_by_tests_that_exist():
    headings = re.findall(r"(?m)^## (P\d+) ", text_of("docs/explanation/promises.md"))
    assert headings == sorted(set(headings), key=lambda promise: int(promise[1:]))
    assert set(PROMISES) <= set(headings)
    for promise in headings:
        guards = re.findall(r"`(tests/[\w/]+\.py)`", section("docs/explanation/promises.md", promise))
        assert guards, promise
        for guard in guards:
            assert "def test_" in text_of(guard), guard


def test_every_log_line_in_the_log_events_table_is_written_somewhere():
    written = "\n".join(
        path.read_text()
        for room in ("ingest", "api", "web", "tasks", "models", "worker", "cli", "tools")
        for path in (ROOT / room).rglob("*.py")
    )
    for names, *_ in table("docs/reference/log-events.md", "Log events"):
        for name in re.findall(r"`(\w+)`", names):
            assert f'"{name}"' in written, name


def test_every_log_line_but_those_for_debugging_is_in_the_log_events_table():
    known = {
        name
        for names, *_ in table("docs/reference/log-events.md", "Log events")
        for name in re.findall(r"`(\w+)`", names)
    }
    for room in ("ingest", "api", "web", "tasks", "models", "worker", "cli", "tools"):
        for path in (ROOT / room).rglob("*.py"):
            written = re.findall(r"\blog\.(?:info|warning|error|exception)\(\s*\"([a-z_]+)\"", path.read_text())
            assert set(written) <= known, path


def test_the_compose_files_example_says_nothing_the_settings_table_does_not():
    known = {code(name) for name, *_ in table("README.md", "Settings")} | {
        "REDIS_PASSWORD",
        "PUBLISH_ADDRESS",
    }
    assert set(re.findall(r"(?m)^([A-Z_]+)=", text_of(".env.example"))) <= known


@pytest.mark.parametrize("paper", PAPERS)
def test_no_paper_leaves_work_undone(paper):
    assert re.findall(r"TODO|FIXME|TBD|coming soon", text_of(paper)) == []


def test_the_licence_is_the_one_the_project_names():
    assert tomllib.loads(text_of("pyproject.toml"))["project"]["license"] == "Apache-2.0"
    words = text_of("LICENSE")
    assert "Version 2.0, January 2004" in words
    assert "END OF TERMS AND CONDITIONS" in words


def test_the_bounds_of_a_503_are_those_that_the_metric_is_labelled_by():
    [meaning] = [
        row[2] for row in table("README.md", "Metrics") if code(row[0]) == "questline_requests_overloaded_total"
    ]
    assert set(re.findall(r"`([a-z_]+)`", meaning)) - {"bound"} == set(Bound)


def test_the_site_leads_to_every_page_without_another_site():
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=_WithNames)  # noqa: S506 - names stay names
    assert site["theme"]["font"] is False
    assert all((ROOT / "docs" / script).is_file() for script in site["extra_javascript"])
    for folder in (ROOT / "docs").iterdir():
        if (folder / ".nav.yml").is_file():
            order = yaml.safe_load((folder / ".nav.yml").read_text())["nav"]
            assert [page for page in order if not (folder / page).is_file()] == []


def test_every_decision_has_a_number_of_its_own_and_a_line_in_the_list():
    records = sorted(path for path in (ROOT / "docs/decisions").glob("*.md") if path.name != "index.md")
    listed = re.findall(r"\((\d+[\w-]+\.md)\)", text_of("docs/decisions/index.md"))
    assert [path.name for path in records] == sorted(listed)
    assert len({path.name[:3] for path in records}) == len(records)
    for path in records:
        assert path.read_text().startswith(f"# {int(path.name[:3])}. "), path.name


class _WithNames(yaml.SafeLoader):
    """Reads ``!!python/name:a.b`` as the text ``a.b``."""


_WithNames.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda _, name, __: name)
