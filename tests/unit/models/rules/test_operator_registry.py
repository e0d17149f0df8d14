"""What holds for every operator, for it is found by its two files."""

from dataclasses import fields
from typing import Any

import pytest

from models.rules.challenge_file.language.parser import parse_expression
from models.rules.challenge_file.rule_json import rule_of_json
from models.rules.challenge_file.rule_text import expression_of, json_of
from models.rules.operators import OPERATORS, make_rule
from models.state.lua_source import OPERATORS as IN_LUA
from models.state.lua_source import source_of
from models.wire import RECORDS

LEAVES = [op for op, rule in OPERATORS.items() if not rule.is_composite]


def test_every_operator_on_events_has_its_lua_and_no_other():
    assert sorted(IN_LUA) == sorted(LEAVES)


@pytest.mark.parametrize("op", LEAVES)
def test_the_lua_of_an_operator_makes_and_moves_each_of_its_states(op):
    rule, text = parse_expression(OPERATORS[op].example), source_of(op)
    for reducer in {rule.reducer(timed=timed) for timed in (False, True)}:
        assert f"function advance.{reducer}(" in text
        assert f"first_state.{reducer}" in text


@pytest.mark.parametrize("op", OPERATORS)
def test_the_example_of_an_operator_is_a_rule_with_it_in_both_forms(op):
    rule = parse_expression(OPERATORS[op].example)
    assert rule.op == op
    assert type(rule) is OPERATORS[op]
    assert expression_of(rule) == OPERATORS[op].example
    assert rule_of_json(json_of(rule)) == rule


@pytest.mark.parametrize("op", OPERATORS)
def test_a_rule_is_made_again_from_its_meaning(op):
    rule = parse_expression(OPERATORS[op].example)
    said: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in rule.meaning().items()}
    parts = {"of": rule.of} if rule.is_composite else {}
    assert make_rule(**said | parts) == rule


def test_names_for_lua_are_those_of_no_record():
    names = {cls.__name__ for rule in OPERATORS.values() for cls in rule.__mro__}
    assert not names & {record.__name__ for record in RECORDS}


def test_the_keys_of_a_form_are_the_fields_of_its_rule():
    """Else what a file says would be lost where the rule is made."""
    for rule in OPERATORS.values():
        made = {"event": "events", "k": "target"}
        keys = {made.get(key, key) for key in rule.shape.model_fields} - {"op"}
        assert keys <= {field.name for field in fields(rule)}
