"""What is written in a script and is not Lua: names that Python and Lua share, and records by their fields."""

import json
from hashlib import sha1

import pytest
from typer.testing import CliRunner

from cli import app
from models import wire
from models.state import lua_source
from models.state.lua_source import SCRIPTS, script_source
from models.state.progress.script_text import script_text


@pytest.fixture
def assembled(monkeypatch):
    """Makes Redis' text of a script's."""

    def of(text):
        monkeypatch.setattr(lua_source, "source_of", lambda _path: text)
        return script_source("any")

    return of


def test_a_name_is_replaced_by_what_python_knows(assembled):
    period = wire.Row._fields.index("period") + 1
    text = "return { row[Row.period], Node.SIZE, Limit.CHUNK, Mode.GRANDFATHERED, Text.MARK, VersionState.STATE }"
    known = f"return {{ row[{period}], {len(wire.Node._fields)}, 1000, 2, '\\031', 3 }}"
    assert assembled(text) == known


def test_comments_texts_and_other_names_stay(assembled):
    text = "--[[ Row.period ]] local x = 'Row.period' -- Row.period\nreturn x.Row.period, MyRow.period, Row[1]"
    assert assembled(text) == text


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("Cold{ user = 1, token = t }", "{ 1, t }"),
        ("Cold{ token = f(a, b), user = { 1, 2 } }", "{ { 1, 2 }, f(a, b) }"),
        ("Cold{\n  user = x[1],\n  token = 'a, }',\n}", "{ x[1], 'a, }' }"),
        ("Cold{ user = Cold{ user = 1, token = 2 }, token = Row.period }", "{ { 1, 2 }, 2 }"),
        ("VersionState{ OPERATOR = 4, STATE = 3, VERSION = 1, IS_CURRENT = 2 }", "{ 1, 2, 3, 4 }"),
    ],
)
def test_a_record_is_a_list_in_the_order_of_its_fields(assembled, written, made):
    assert assembled(f"return {written}") == f"return {made}"


@pytest.mark.parametrize(
    "wrong",
    [
        "row[Row.stmap]",
        "Cold{ user = 1 }",
        "Cold{ user = 1, token = 2, more = 3 }",
        "Cold{ user = 1, user = 2, token = 3 }",
        "Cold{ 1, 2 }",
        "Cold{ user = 1",
    ],
)
def test_what_python_does_not_know_stops_the_process_that_loads_it(assembled, wrong):
    with pytest.raises(ValueError, match=r"any\.lua"):
        assembled(f"return {wrong}")


def test_dev_lua_prints_what_redis_gets():
    for name in SCRIPTS:
        assert CliRunner().invoke(app, ["dev", "lua", name]).output == script_text(name)
    shown = json.loads(CliRunner().invoke(app, ["dev", "lua", "apply_events", "--json"]).output)
    assert shown["source"] == script_text("apply_events")
    assert shown["sha1"] == sha1(shown["source"].encode(), usedforsecurity=False).hexdigest()


def test_dev_lua_lists_all_scripts():
    assert CliRunner().invoke(app, ["dev", "lua", "--list"]).output.split() == list(SCRIPTS)
    listed = json.loads(CliRunner().invoke(app, ["dev", "lua", "--list", "--json"]).output)
    assert [one["name"] for one in listed] == list(SCRIPTS)


@pytest.mark.parametrize("options", [[], ["no_such"], ["apply_events", "--list"]])
def test_dev_lua_refuses_what_it_cannot_print(options):
    assert CliRunner().invoke(app, ["dev", "lua", *options]).exit_code == 2
