"""The ``rule`` of a goal, in either form, with the position of every fault."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from models.rules.challenge_file.faults import Fault
from models.rules.challenge_file.json_text import Path
from models.rules.challenge_file.language.errors import ExpressionError, excerpt
from models.rules.challenge_file.language.parser import Expression, read_expression
from models.rules.challenge_file.rule_json import RuleError, rule_of_json
from models.rules.forms.words import in_words
from models.rules.rule import Rule


class RuleReading(NamedTuple):
    """What could be read of a rule."""

    form: Any
    """The rule in JSON, right or wrong; None for an expression that does not follow the grammar."""
    rule: Rule | None
    """None where there are faults."""
    faults: tuple[Fault, ...] = ()
    """Placed; the paths begin at the rule."""
    expression: Expression | None = None
    """Where the rule is written as one."""

    def located(self, fault: Fault) -> Fault:
        """A fault whose path begins at the rule, with its location in the expression where the rule is one."""
        return self.expression.located(fault) if self.expression else fault

    def names(self) -> Iterator[tuple[Path, str]]:
        """The goals that the rule has as parts, with the paths that lead there."""
        pending: list[tuple[Path, Any]] = [((), self.form)]
        while pending:
            path, part = pending.pop()
            of = part.get("of") if isinstance(part, dict) else None
            inner = [((*path, "of", location), one) for location, one in enumerate(of if isinstance(of, list) else [])]
            yield from ((at, one) for at, one in inner if isinstance(one, str))
            pending += reversed(inner)


def read_rule(value: Any) -> RuleReading:
    """Read a rule, whichever form it has; it does not raise."""
    if isinstance(value, dict):
        return _of_form(value, None)
    if not isinstance(value, str):
        return RuleReading(None, None, (Fault((), f"must be an object or an expression, is {in_words(value)}"),))
    try:
        expression = read_expression(value)
    except ExpressionError as error:
        fault = Fault((), error.reason, excerpt(value, error.location))
        return RuleReading(None, None, (fault,))
    return _of_form(expression.form, expression)


def _of_form(form: Any, expression: Expression | None) -> RuleReading:
    unread = RuleReading(form, None, (), expression)
    try:
        return unread._replace(rule=rule_of_json(form))
    except RuleError as error:
        return unread._replace(faults=tuple(unread.located(fault) for fault in error.faults))
