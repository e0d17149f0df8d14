"""The pages of rules, held to the code: every example is read, every limit and every operator is looked up."""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from cli import app
from cli.rules.commands import rules
from models.errors import ConfigurationError
from models.rules import composites, operators
from models.rules.challenge_file import limits as rule_limits
from models.rules.challenge_file import rule_json
from models.rules.challenge_file import shapes as challenge_shapes
from models.rules.challenge_file.language import parser as expression
from models.rules.challenge_file.language.parser import parse_expression
from models.rules.challenge_file.parser import parse_challenges
from models.rules.challenge_file.rule_json import rule_of_json
from models.rules.challenge_file.rule_text import expression_of, json_of
from models.rules.forms import bases
from models.rules.goals import Policy
from models.rules.graph import compile_graph
from models.rules.operators import count, distinct, sequence, streak
from models.rules.rule import Comparison

DOCS = Path(__file__).parents[3] / "docs"
TEXT = "".join((DOCS / page).read_text() for page in ("reference/rules.md", "how-to/change-rules.md"))
OPERATORS = set(operators.OPERATORS)
RECIPES = (DOCS / "how-to/write-goals.md").read_text()
EXPRESSIONS = [
    line for block in re.findall(r"```text\n(.*?)```", TEXT + RECIPES, re.DOTALL) for line in block.splitlines()
]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"(?ms)^```{kind}\n(.*?)^```$", TEXT)


def section(title: str) -> str:
    return re.split(rf"(?m)^## {title}$", TEXT)[1].split("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """The cells of the table of a section, without its two head lines."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_the_file_in_the_page_is_a_challenges_file():
    (file,) = [block for block in blocks("json") if block.startswith("{")]
    assert len(parse_challenges(file, "rules.md").goals) == 5


def test_the_file_to_begin_with_is_a_challenges_file():
    (file,) = re.findall(r"(?s)```json\n(.*?)```", RECIPES)
    assert len(parse_challenges(file, "write-goals.md").goals) == 1


def test_the_rules_in_json_are_those_in_the_expressions_beside_them():
    (listed,) = [block for block in blocks("json") if block.startswith("[")]
    rules_in_json = [rule_of_json(rule) for rule in json.loads(listed)]
    assert rules_in_json == [parse_expression(line) for line in blocks("text")[0].splitlines()]
    assert {rule.op for rule in rules_in_json} == OPERATORS


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_every_expression_of_the_page_is_a_rule_in_a_goal(text):
    rule = parse_expression(text)
    others = [{"id": name, "rule": "count(e) >= 1"} for name in ("goal-a", "goal-b", "goal-c")]
    goals = [{"id": "text", "rule": text}, {"id": "json", "rule": json_of(rule)}, *others]
    rulebook = parse_challenges(json.dumps({"challenges": [{"id": "c", "goals": goals}]}), "rules.md")
    assert rulebook.by_id["text"].rule == rulebook.by_id["json"].rule == rule


def test_the_two_spellings_of_one_rule_mean_the_same():
    one, other = re.findall(r"```text\n(.*)\n(.*)\n```", section("Expressions"))[0]
    assert parse_expression(one) == parse_expression(other)
    assert expression_of(parse_expression(other)) == one


def test_expressions_in_the_text_are_rules():
    inline = [said for said in re.findall(r"`([^`\n]+)`", section("Expressions")) if re.match(r"\w+\(", said)]
    assert inline
    for said in inline:
        parse_expression(said)


def test_every_operator_is_in_both_tables():
    assert set(chain.from_iterable(named(row[0]) for row in table("Operators"))) == OPERATORS
    assert set(chain.from_iterable(named(row[0]) for row in table("State, bounds, classes"))) >= OPERATORS


def test_completed_at_is_called_exact_where_the_engines_hold_it_so():
    examples = [parse_expression(line) for line in blocks("text")[0].splitlines()]
    leaves = {("last" if getattr(rule, "last", None) else rule.op): rule for rule in examples if not rule.of}
    exact = {row[0]: row[4] == "exact" for row in table("State, bounds, classes") if row[4] in ("exact", "arrival")}
    for cell, said in exact.items():
        for name in named(cell):
            if name in leaves:
                kind = "last" if "`last`" in cell else name
                assert _is_exact(leaves[kind]) == said, cell
    assert _is_exact(parse_expression("all([max(a) >= 1, distinct(a, field=value) >= 2])"))
    assert not _is_exact(parse_expression("all([max(a) >= 1, sum(a) >= 2])"))
    assert not _is_exact(parse_expression("all([max(a) >= 1, min(a) <= 2], within=7d)"))


def _is_exact(rule: Any) -> bool:
    goals = [{"id": "g", "rule": json_of(rule)}]
    rulebook = parse_challenges(json.dumps({"challenges": [{"id": "c", "goals": goals}]}), "f")
    return compile_graph(rulebook).by_id["g"].is_exact


def test_the_limits_are_those_of_the_code():
    assert [row[1] for row in table("Limits")] == [
        str(value)
        for value in (
            bases.MAX_PARTS,
            rule_json.MAX_LEVELS,
            rule_limits.MAX_NODES,
            16,
            100,
            distinct.MAX_DISTINCT,
            count.MAX_TIMED_COUNT,
            count.MAX_TIMES,
            f"1/{composites.MAX_WINDOWS}",
            30,
            16,
            64,
            expression.MAX_LENGTH,
        )
    ]
    bounds = {row[0]: row[2] for row in table("State, bounds, classes")}
    assert bounds["`streak`"].startswith(f"{streak.MAX_RUNS} runs")
    assert bounds["`sequence`"].startswith(f"{sequence.MAX_STEP_TIMES} times")
    assert bounds["the same with `within`"].startswith(f"{composites.MAX_STRETCHES} pairs")
    assert f"at most {count.MAX_TIMES} times" in bounds["`count` with `last`"]


def _faults(**goal: Any) -> int:
    """How many faults a file has whose one goal counts events and says this, too."""
    said = {"id": "g", "rule": {"op": "count", "event": "e", "target": 1}} | goal
    try:
        parse_challenges(json.dumps({"challenges": [{"id": "c", "goals": [said]}]}), "f")
    except ConfigurationError as error:
        return len(getattr(error, "faults", [error]))
    return 0


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda n: {"rule": _count(where=[{"field": f"payload.f{i}", "cmp": "==", "value": 1} for i in range(n)])}, 16),
        (lambda n: {"rule": _count(where=[{"field": "value", "cmp": "in", "value": list(range(n))}])}, 100),
        (lambda n: {"rule": {"op": "streak", "event": "e", "target": 5, "grace": n}}, 30),
        (lambda n: {"segments": {f"a{i}": 1 for i in range(n)}}, 16),
        (lambda n: {"segments": {"a": list(range(n))}}, 64),
        (lambda n: {"rule": {"op": "distinct", "event": "e", "field": "value", "target": n}}, 256),
        (lambda n: {"rule": {"op": "any", "of": [_count()] * n}}, 16),
    ],
)
def test_a_limit_is_allowed_and_one_more_is_refused(make, most):
    assert (_faults(**make(most)), _faults(**make(most + 1))) == (0, 1)


def _count(**more: Any) -> dict[str, Any]:
    return {"op": "count", "event": "e", "target": 1} | more


def test_the_keys_of_a_goal_are_those_of_the_code():
    documented = set(chain.from_iterable(named(row[0]) for row in table("A file with rules")))
    shapes = (challenge_shapes.RuleGoalShape, challenge_shapes.TypedGoalShape)
    assert documented == {key for shape in shapes for key in shape.model_fields}


def test_policies_and_comparisons_are_those_of_the_code():
    assert [row[0].strip("`") for row in table("Versions")] == list(get_args(Policy))
    where = section("What narrows a rule").split("Comparisons are")[1].split(".")[0]
    assert re.findall(r"`([^`]+)`", where) == list(get_args(Comparison))


def test_the_commands_are_those_of_the_command_line():
    documented = [re.findall(r"`questline rules (\w+)", row[0])[0] for row in table("Commands")]
    known = [command.name or getattr(command.callback, "__name__", "") for command in rules.registered_commands]
    assert sorted(documented) == sorted(known)


def test_a_wrong_expression_is_answered_as_shown():
    (shown,) = [block for block in blocks("console") if "rules format" in block]
    text = re.findall(r'--expression "(.*)"', shown)[0]
    answer = CliRunner().invoke(app, ["rules", "format", "--expression", text])
    said = [f"questline: {line}" for line in str(answer.exception).splitlines()]
    assert said == shown.splitlines()[1:]


def test_a_wrong_file_is_answered_as_shown(tmp_path, monkeypatch):
    (shown,) = [block for block in blocks("console") if "rules validate" in block]
    monkeypatch.chdir(tmp_path)
    texts = re.findall(r"(?m)^    (\w+\(.*)$", shown)
    goals = [{"id": goal_id, "rule": text} for goal_id, text in zip("ab", texts, strict=True)]
    (tmp_path / "challenges.json").write_text(json.dumps({"challenges": [{"id": "c", "goals": goals}]}))
    answer = CliRunner().invoke(app, ["rules", "validate", "challenges.json"])
    assert answer.exit_code == 1
    assert answer.output.splitlines() == shown.splitlines()[1:]
