"""``questline rules diff``: compare goals, files or publications by field."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.database import read_document, rules_database
from cli.output import escaped
from models.database.rules.differences import Difference, Fields, compared, fields_of_goals, fields_of_version
from models.database.rules.history import RuleHistory
from models.errors import PermanentError
from tasks.rules.publications import parse_stored


def diff(
    before: Annotated[str, typer.Argument(help="A file, the number of a publication, or GOAL@VERSION.")],
    after: Annotated[str, typer.Argument(help="The same, to compare with.")],
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON array.")] = False,
) -> None:
    """Compare two files, publications or versions of a goal, field by field."""
    if _names_version(before) != _names_version(after):
        raise typer.BadParameter("a version of a goal is compared with another version of a goal")
    found = list(compared(_side(before), _side(after)))
    if as_json:
        typer.echo(json.dumps([difference._asdict() for difference in found]))
    elif not found:
        typer.echo("no differences")
    else:
        typer.echo(escaped("\n".join(_lines(found))))


def in_words(difference: Difference) -> str:
    """A difference as one line, without the goal."""
    return f"{difference.field}: {_quoted(difference.before)} -> {_quoted(difference.after)}"


def _names_version(name: str) -> bool:
    goal_id, _, number = name.rpartition("@")
    return bool(goal_id) and number.isdecimal() and not Path(name).exists()


def _side(name: str) -> dict[str, Fields]:
    """What a name on the command line stands for, by goal; a file goes first."""
    if _names_version(name):
        return _version(name)
    if name.isdecimal() and not Path(name).exists():
        return _publication(int(name))
    return fields_of_goals(read_document(Path(name), lateness=timedelta()).rulebook)


def _version(name: str) -> dict[str, Fields]:
    goal_id, _, number = name.rpartition("@")
    with rules_database() as engine:
        known = RuleHistory(engine).versions(goal_id)
    for record in known:
        if record.version == int(number):
            return {goal_id: fields_of_version(record)}
    raise PermanentError(f"{name}: goal {goal_id!r} has no version {number}")


def _publication(revision: int) -> dict[str, Fields]:
    with rules_database() as engine:
        record = RuleHistory(engine).publication(revision)
    if record is None:
        raise PermanentError(f"{revision}: there is no publication with this number")
    return fields_of_goals(parse_stored(record.document))


def _lines(found: list[Difference]) -> Iterator[str]:
    shown = ""
    for difference in found:
        if not difference.field:
            yield f"goal {difference.goal_id}: {'added' if difference.before is None else 'removed'}"
            continue
        if difference.goal_id != shown:
            shown = difference.goal_id
            yield f"goal {shown}:"
        yield f"  {in_words(difference)}"


def _quoted(value: Any) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False)
