"""The documents, held to the code: tables, commands, metrics, codes and paths cannot drift apart."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from markdown import markdown

from cli import VERBS
from config.settings import Settings
from models.database.tables import metadata
from models.dead_letter_reasons import Reason
from models.declarations.metrics import DECLARED
from models.state import keys
from tests.support.docs import ROOT, code, section, table, text_of

DOCS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "examples/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]
PROMISES = [f"P{number}" for number in range(1, 17)]


def test_the_commands_table_is_the_command_line():
    rows = {code(verb): purpose for verb, purpose in table("docs/reference/commands.md", "Commands")}
    assert rows == {name: verb.purpose for name, verb in VERBS.items()}


@pytest.mark.parametrize("page", DOCS)
def test_every_command_a_page_shows_is_a_verb(page):
    shown = re.findall(r"(?:`|bin/)questline ([a-z][a-z-]*)", text_of(page))
    assert set(shown) <= set(VERBS)


@pytest.mark.parametrize("page", DOCS)
def test_every_metric_a_page_names_exists(page):
    known = {metric.name for metric in DECLARED}
    named = re.findall(r"\b(?:questline_[a-z_]+|challenge_event_handler_[a-z_]+)\b", text_of(page))
    assert set(named) - known == set()


def test_the_reasons_of_dead_letters_are_in_their_page():
    assert set(re.findall(r"(?m)^\| `(\w+)` \| `", section("docs/reference/dead-letters.md", "Reasons"))) == set(Reason)


def test_every_redis_key_is_in_the_table():
    known = " ".join(re.findall(r"(?m)^\| (`.*?) \|", text_of("docs/reference/redis-keys.md"))).replace(
        "{sNN}", "{s07}"
    )
    made = {*keys.shard_keys(7), keys.METRICS, keys.FLUSH_LOCK, keys.FLUSH_ASKED, keys.DEAD_DEPTH}
    made |= {keys.HEARTBEATS, keys.PROBE, keys.UNDELIVERABLE}
    assert {key for key in made if f"`{key}`" not in known} == set()
    assert f"`{keys.API_KEYS}`" in known
    assert "`ql:{s07}:u:<tenant>:<user>`" in known
    assert keys.record_key(7, keys.member("<tenant>", "<user>")) == "ql:{s07}:u:<tenant>:<user>"
    assert f"`{keys.tries_key(7, '<batch>')}`" in known
    assert f"`{keys.attributes_key(7, keys.member('<tenant>', '<user>'))}`" in known
    by_hand = str(keys.__doc__).replace("{sNN}", "{s07}")
    assert {key for key in made if f"``{key}``" not in by_hand} == set()


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


@pytest.mark.parametrize("page", DOCS)
def test_every_link_leads_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text_of(page)) if not link.startswith("https://")]
    assert [link for link in links if not _leads_somewhere(ROOT / page, link)] == []


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not anchor or not target.exists():
        return target.exists()
    headings = re.findall(r"(?m)^#+ (.+)$", target.read_text())
    return anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCS)
def test_every_path_a_page_names_exists(page):
    rooms = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = re.findall(rf"`((?:{rooms})/[^`\s]*|\.ci/run|[\w.-]+\.(?:toml|txt|md|yml))`", text_of(page))
    patterns = {"migrations/versions/NNNN_what_it_does.py"}
    assert [path for path in named if path not in patterns and not (ROOT / path).exists()] == []


def test_every_file_that_code_names_exists():
    files = [ROOT / name for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()]
    bare = {path.name for path in files} | {"secrets.json", "ports.json", "run.json"}  # the latter: of a data folder
    wrong = []
    for path in files:
        if path.suffix in {".py", ".lua", ".sql"} and path.is_file() and "tests" not in path.parts:
            for name in re.findall(r"`([\w/]+\.(?:py|lua|lark|sql|json|md))`", path.read_text()):
                exists = name in bare or ("/" in name and any(str(one).endswith(f"/{name}") for one in files))
                wrong += [] if exists else [(path.name, name)]
    assert wrong == []


def test_every_promise_is_explained_and_guarded_by_tests_that_exist():
    headings = re.findall(r"(?m)^## (P\d+) ", text_of("docs/explanation/promises.md"))
    assert headings == sorted(set(headings), key=lambda promise: int(promise[1:]))
    assert set(PROMISES) <= set(headings)
    for promise in headings:
        guards = re.findall(r"`(tests/[\w/]+\.py)`", section("docs/explanation/promises.md", promise))
        assert guards, promise
        for guard in guards:
            assert "def test_" in text_of(guard), guard


def test_the_compose_files_example_says_nothing_the_settings_table_does_not():
    known = {*Settings.names(), "REDIS_PASSWORD", "PUBLISH_ADDRESS"}
    assert set(re.findall(r"(?m)^([A-Z_]+)=", text_of(".env.example"))) <= known


@pytest.mark.parametrize("page", [page for page in DOCS if page.startswith("docs/")])
def test_prose_has_lines_of_normal_width(page):
    """Tables, code and links cannot be wrapped."""
    prose = re.sub(r"(?ms)^ *```.*?^ *```$|^\|.*?$|^<!--.*?$|^#.*?$", "", text_of(page))
    assert [line for line in prose.splitlines() if len(line) > 100 and " " in line.strip()[:100]] == []


@pytest.mark.parametrize("page", [page for page in DOCS if page.startswith("docs/")])
def test_lists_and_code_are_read_as_such_by_the_generator(page):
    """It needs a blank line before a list, and four columns before code in a list."""
    html = markdown(text_of(page), extensions=["tables", "pymdownx.superfences"])
    paragraphs = re.findall(r"(?s)<p>.*?</p>", html)
    assert [text for text in paragraphs if "```" in text or re.search(r"\n(?:[*-]|\d+\.) ", text)] == []


@pytest.mark.parametrize("page", DOCS)
def test_no_page_leaves_work_undone(page):
    assert re.findall(r"TODO|FIXME|TBD|coming soon", text_of(page)) == []


def test_the_licence_is_the_one_the_project_names():
    assert tomllib.loads(text_of("pyproject.toml"))["project"]["license"] == "Apache-2.0"
    words = text_of("LICENSE")
    assert "Version 2.0, January 2004" in words
    assert "END OF TERMS AND CONDITIONS" in words


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
