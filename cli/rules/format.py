"""``questline rules format`` and ``schema``: forms of rules, and their schema."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from models.errors import ConfigurationError


class RuleForm(StrEnum):
    """The two ways to write a rule."""

    EXPRESSION = "expression"
    JSON = "json"


def format_rules(
    file: Annotated[Path | None, typer.Argument(help="A challenges file.")] = None,
    to: Annotated[RuleForm, typer.Option(help="The form that every rule of the file gets.")] = RuleForm.EXPRESSION,
    write: Annotated[bool, typer.Option("--write", help="Change the file instead of printing it.")] = False,
    expression: Annotated[str | None, typer.Option(help="Print the JSON of this one rule.")] = None,
    rule: Annotated[str | None, typer.Option(help="Print the expression of this one rule, given as JSON.")] = None,
) -> None:
    """Write rules in the other form: as short expressions or as JSON. All else of a file stays as it is."""
    if sum(given is not None for given in (file, expression, rule)) != 1:
        raise typer.BadParameter("give either a file, --expression or --rule")
    if file is not None:
        _format_file(file, to, write=write)
    elif expression is not None:
        typer.echo(json_of_expression(expression))
    else:
        typer.echo(expression_of_json(rule or ""))


def schema() -> None:
    """Print the JSON Schema of challenges files, for editors."""
    from models.rules.challenge_file.schema import schema_text  # noqa: PLC0415 - `rules --help` does without pydantic

    typer.echo(schema_text(), nl=False)


def json_of_expression(text: str) -> str:
    """The JSON of a rule that is given as an expression.

    Raises:
        ConfigurationError: it is none; the text shows the location.
    """
    from models.rules.challenge_file.language.errors import ExpressionError  # noqa: PLC0415 - as above
    from models.rules.challenge_file.language.parser import parse_expression  # noqa: PLC0415 - as above
    from models.rules.challenge_file.rule_text import json_of  # noqa: PLC0415 - as above

    try:
        return json.dumps(json_of(parse_expression(text)), ensure_ascii=False)
    except ExpressionError as error:
        raise ConfigurationError(str(error)) from error


def expression_of_json(text: str) -> str:
    """The expression of a rule that is given as JSON.

    Raises:
        ConfigurationError: it is none.
    """
    from models.rules.challenge_file.json_text import JsonTextError, read_json  # noqa: PLC0415 - as above
    from models.rules.challenge_file.rule_json import RuleError, rule_of_json  # noqa: PLC0415 - as above
    from models.rules.challenge_file.rule_text import expression_of  # noqa: PLC0415 - as above

    try:
        return expression_of(rule_of_json(read_json(text)))
    except JsonTextError as error:
        raise ConfigurationError(f"the rule: {error}") from error
    except RuleError as error:
        raise ConfigurationError(str(error)) from error


def _format_file(file: Path, to: RuleForm, *, write: bool) -> None:
    from models.rules.challenge_file.rewriter import rewrite_rules  # noqa: PLC0415 - as above

    try:
        written = rewrite_rules(file.read_bytes(), str(file), to.value)
        if write:
            file.write_text(written, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror or error}") from error
    if not write:
        typer.echo(written, nl=False)
