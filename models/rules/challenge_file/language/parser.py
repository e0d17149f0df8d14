"""The expression language, such as ``count(login last 7d) >= 5``.

The grammar is ``expression.lark``. A text becomes the JSON form of the rule first, with the location of each value, and
is then read as any rule in JSON (``rule_json.py``); so both forms have one meaning, and a fault of either kind finds
its location in the text.
"""

from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from lark import Lark, UnexpectedInput

from models.rules.challenge_file.faults import Fault
from models.rules.challenge_file.json_text import Path
from models.rules.challenge_file.language.errors import (
    ExpressionError,
    Location,
    excerpt,
    location_at,
    location_of,
    unexpected,
)
from models.rules.challenge_file.language.transformer import Misuse, ToForm
from models.rules.challenge_file.rule_json import RuleError, rule_of_json
from models.rules.challenge_file.rule_shapes import SHAPES
from models.rules.operators import OPERATORS
from models.rules.rule import Rule

_GRAMMAR = FilePath(__file__).with_name("expression.lark")
MAX_LENGTH = 10_000
"""Characters of an expression."""


class Expression(NamedTuple):
    """A text that follows the grammar."""

    text: str
    form: Any
    """The rule in JSON."""
    locations: dict[Path, Location]
    """Where in the text each value of the form stands."""

    def located(self, fault: Fault) -> Fault:
        """A fault of the form with the location in the text, which it is shown with."""
        return fault._replace(excerpt=excerpt(self.text, location_of(fault.path, self.locations)))


def parse_expression(text: str) -> Rule:
    """Read one rule.

    Raises:
        ExpressionError: the text does not follow the grammar, or what it says is no rule.
    """
    expression = read_expression(text)
    try:
        return rule_of_json(expression.form)
    except RuleError as error:
        located = [(location_of(fault.path, expression.locations), fault) for fault in error.faults]
        location, first = min(located, key=lambda item: item[0])
        named = f"{first.path[-1]} " if first.path and isinstance(first.path[-1], str) else ""
        raise ExpressionError(text, location, named + first.reason) from error


def read_expression(text: str) -> Expression:
    """Read a text as the JSON form of a rule, with locations.

    Raises:
        ExpressionError: the text does not follow the grammar.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(text, Location(1, 1), f"is longer than {MAX_LENGTH} characters")
    try:
        parsed: Any = _parser().parse(text)
    except UnexpectedInput as error:
        raise _unexpected(text, error) from error
    except Misuse as error:
        raise ExpressionError(text, location_at(text, error.position), error.reason, error.expected) from error
    locations = {path: location_at(text, position) for path, position in parsed.positions.items()}
    return Expression(text, parsed.value, locations)


def _unexpected(text: str, error: Any) -> ExpressionError:
    ended = getattr(getattr(error, "token", None), "type", "") == "$END"
    position = len(text.rstrip()) if ended else error.pos_in_stream
    return unexpected(text, position, error.interactive_parser.accepts(), SHAPES)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = _GRAMMAR.read_text(encoding="utf-8")
    for terminal in {rule.terminal for rule in OPERATORS.values()}:
        words = "|".join(op for op, rule in OPERATORS.items() if rule.terminal == terminal)
        grammar = grammar.replace(f"{{{terminal}}}", words)
    return Lark(grammar, parser="lalr", transformer=ToForm())
