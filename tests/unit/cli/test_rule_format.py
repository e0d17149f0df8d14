"""``questline rules format`` and ``rules schema``: rules in the other form, and the schema that editors read."""

import json

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from cli.rules.format import format_rules, schema
from config.settings import Settings
from models.errors import ConfigurationError, InvalidChallengesError
from models.rules.challenge_file.json_text import read_json, spans
from models.rules.challenge_file.parser import parse_challenges
from models.rules.challenge_file.rewriter import rewrite_rules
from models.rules.challenge_file.rule_text import expression_of, json_of
from models.rules.challenge_file.schema import schema_text
from tests.support.rule_examples import RULES

FILE = """{"challenges": [
  {"id": "c", "x-order": 1, "goals": [
    {"reward": {"rule": "as it is"},  "rule": "count(e per day, >= 1)", "id": "g"},
    {"id": "typed", "type": "daily", "event_source": "e", "requirement": {"target": 1.0}},
    {"id": "h", "rule": {"target": 10, "op": "sum", "event": "e", "field": "payload.minutes"}, "name": "\\u00fc"}]}
]}
"""

cli = typer.Typer()
cli.command("format")(format_rules)
cli.command("schema")(schema)


def run(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def test_only_rules_are_rewritten():
    expressions = rewrite_rules(FILE, "f.json", "expression")

    assert expressions == FILE.replace('"count(e per day, >= 1)"', '"count(e per day) >= 1"').replace(
        '{"target": 10, "op": "sum", "event": "e", "field": "payload.minutes"}',
        '"sum(e, field=payload.minutes) >= 10"',
    )
    assert rewrite_rules(expressions, "f.json", "expression") == expressions


def test_rules_become_json_on_one_line_where_they_fit():
    written = rewrite_rules(FILE, "f.json", "json")

    assert '"rule": {"op": "count", "event": "e", "target": 1, "per": "day"}, "id": "g"' in written
    long = FILE.replace("count(e per day, >= 1)", "all([" + ", ".join(["some-goal"] * 7) + "])")
    assert '"rule": {\n      "op": "all",\n      "of": ["some-goal", ' in rewrite_rules(long, "f.json", "json")


@given(st.lists(RULES, min_size=1, max_size=3), st.sampled_from([None, 2]))
@settings(max_examples=50, deadline=None)
def test_there_and_back_changes_no_rule(rules, indent):
    goals = [{"id": str(index), "rule": json_of(rule)} for index, rule in enumerate(rules)]
    text = json.dumps({"challenges": [{"id": "c", "goals": goals}]}, indent=indent)

    expressions = rewrite_rules(text, "f.json", "expression")

    said = [goal["rule"] for goal in json.loads(expressions)["challenges"][0]["goals"]]
    assert said == [expression_of(rule) for rule in rules]
    assert json.loads(rewrite_rules(expressions, "f.json", "json")) == json.loads(text)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from([None, 1]),
)
@settings(max_examples=100, deadline=None)
def test_spans_are_those_of_the_values(value, indent):
    text = json.dumps(value, indent=indent, ensure_ascii=False)

    for path, start, end in spans(text):
        found = value
        for step in path:
            found = found[step]
        assert read_json(text[start:end]) == found


def test_a_rule_that_cannot_be_read_is_said_with_its_place():
    with pytest.raises(InvalidChallengesError) as caught:
        rewrite_rules(FILE.replace(">= 1)", ">= )"), "f.json", "json")

    assert caught.value.faults == [
        (
            "f.json: challenge 'c', goal 'g': rule: expected a number\n"
            "    count(e per day, >= )\n"
            "                        ^ line 1, column 21"
        )
    ]


def test_the_command_prints_or_writes_a_file(tmp_path):
    path = tmp_path / "challenges.json"
    path.write_text(FILE)

    assert run("format", path, "--to", "json").output == rewrite_rules(FILE, "f.json", "json")
    assert path.read_text() == FILE
    assert run("format", path, "--write").output == ""
    assert path.read_text() == rewrite_rules(FILE, "f.json", "expression")


def test_the_command_turns_single_rules():
    assert json.loads(run("format", "--expression", "max(e) >= 9").output) == {"op": "max", "event": "e", "target": 9}
    assert run("format", "--rule", '{"op": "max", "event": "e", "target": 9}').output == "max(e) >= 9\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--expression", "max(e) >= "], "max(e) >= \n         ^ line 1, column 10: expected a number"),
        (["--rule", '{"op": "max"}'], "event: is missing\ntarget: is missing"),
        (["--rule", "{"], "the rule: line 1, column 2: is not JSON"),
        (["nowhere.json"], "nowhere.json: No such file or directory"),
    ],
)
def test_what_cannot_be_turned_is_said(arguments, said):
    answer = run("format", *arguments)

    assert isinstance(answer.exception, ConfigurationError)
    assert said in str(answer.exception)


@pytest.mark.parametrize("arguments", [[], ["f.json", "--rule", "{}"]])
def test_one_thing_is_turned_at_a_time(arguments):
    answer = run("format", *arguments)

    assert answer.exit_code == 2
    assert "either a file, --expression or --rule" in answer.output


def test_the_shipped_schema_is_that_of_the_code():
    shipped = Settings().challenges_file.with_name("challenges.schema.json")

    assert shipped.read_text() == schema_text() == run("schema").output, (
        "questline rules schema > config/challenges.schema.json"
    )


def test_the_shipped_file_names_the_schema_and_follows_it():
    path = Settings().challenges_file
    content = json.loads(path.read_text())

    assert (path.parent / content["$schema"]).exists()
    Draft202012Validator.check_schema(json.loads(schema_text()))
    Draft202012Validator(json.loads(schema_text())).validate(content)


VALIDATOR = Draft202012Validator(json.loads(schema_text()))


def file_of(**goal):
    return {"challenges": [{"id": "c", "goals": [{"id": "g"} | goal]}]}


@given(RULES)
@settings(max_examples=100, deadline=None)
def test_any_rule_follows_the_schema_in_both_forms(rule):
    assert VALIDATOR.is_valid(file_of(rule=json_of(rule)))
    assert VALIDATOR.is_valid(file_of(rule=expression_of(rule)))


@pytest.mark.parametrize(
    "goal",
    [
        {"rule": {"op": "cont", "event": "e", "target": 1}},
        {"rule": {"op": "count", "event": "e", "target": 0}},
        {"rule": {"op": "count", "event": "e", "target": 1, "grace": 1}},
        {"rule": {"op": "all", "of": []}},
        {"rule": {"op": "all", "of": ["a", {"op": "sum", "event": "e"}]}},
        {"rule": {"op": "sequence", "events": ["a", "b"], "within": "soon"}},
        {"rule": "count(e) >= 1", "segments": {}},
        {"rule": "count(e) >= 1", "type": "daily"},
        {"type": "weekly", "event_source": "e", "requirement": {"target": 1}},
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(goal):
    assert not VALIDATOR.is_valid(file_of(**goal))
    with pytest.raises(InvalidChallengesError):
        parse_challenges(json.dumps(file_of(**goal)), "f.json")
