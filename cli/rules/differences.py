"""``questline rules diff``: two goals, files or publications, compared field by field."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from cli.database import read_document, rules_database
from cli.output import escaped
from models.database.rules.definitions import definition_of, rule_of
from models.database.rules.history import RuleHistory, VersionRecord
from models.errors import PermanentError
from models.rules.calendar import to_datetime
from models.rules.challenge_file.rule_text import json_of
from models.rules.goals import Goal, Rulebook
from tasks.rules.publications import parse_stored

Fields = Mapping[str, Any]
"""What is said of a goal, by the place where it is said, such as ``rule.target``."""


class Difference(NamedTuple):
    """A field that two sides say differently; None where one does not say it."""

    goal_id: str
    field: str
    """Empty where one side has no such goal."""
    before: Any
    after: Any


def diff(
    before: Annotated[str, typer.Argument(help="A file, the number of a publication, or GOAL@VERSION.")],
    after: Annotated[str, typer.Argument(help="The same, to compare with.")],
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON array.")] = False,
) -> None:
    """Compare two files, publications or versions of a goal, field by field."""
    if _names_version(before) != _names_version(after):
        raise typer.BadParameter("a version of a goal is compared with another version of a goal")
    found = list(_compared(_side(before), _side(after)))
    if as_json:
        typer.echo(json.dumps([difference._asdict() for difference in found]))
    elif not found:
        typer.echo("no differences")
    else:
        typer.echo(escaped("\n".join(_lines(found))))


def fields_of_version(record: VersionRecord) -> Fields:
    """What a version says."""
    return _flat(_readable(record.definition))


def differences(goal_id: str, before: Fields, after: Fields) -> Iterator[Difference]:
    """The fields that are not said alike, those of ``before`` first."""
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field):
            yield Difference(goal_id, field, before.get(field), after.get(field))


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
    return _fields_of_goals(read_document(Path(name), lateness=timedelta()).rulebook)


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
    return _fields_of_goals(parse_stored(record.document))


def _fields_of_goals(rulebook: Rulebook) -> dict[str, Fields]:
    return {goal.goal_id: _fields_of_goal(goal) for goal in rulebook.goals}


def _fields_of_goal(goal: Goal) -> Fields:
    looks = {"hidden": goal.hidden, "secret": goal.secret, "on_change": goal.on_change, "reward": goal.reward}
    return _flat(_readable(definition_of(goal)) | looks)


def _readable(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition with its rule and its times as a challenges file writes them."""
    texts = ("name", "description", "challenge")
    said = {name: definition.get(name, "") for name in texts}
    said["rule"] = json_of(rule_of(definition))
    said["prerequisites"] = definition.get("prerequisites", [])
    for name in ("active_from", "active_until"):
        at = definition.get(name)
        said[name] = None if at is None else to_datetime(at).isoformat()
    return said | {"segments": definition.get("segments", {})}


def _flat(said: Any, path: str = "") -> dict[str, Any]:
    """Every value by its place; a list of plain values is one value."""
    if isinstance(said, Mapping):
        parts = {f"{path}.{name}" if path else str(name): value for name, value in said.items()}
    elif isinstance(said, list) and any(isinstance(value, Mapping) for value in said):
        parts = {f"{path}[{number}]": value for number, value in enumerate(said, start=1)}
    else:
        return {path: said}
    return {field: value for name, part in parts.items() for field, value in _flat(part, name).items()}


def _compared(before: dict[str, Fields], after: dict[str, Fields]) -> Iterator[Difference]:
    for goal_id in dict.fromkeys((*before, *after)):
        if goal_id in before and goal_id in after:
            yield from differences(goal_id, before[goal_id], after[goal_id])
        else:
            yield Difference(goal_id, "", "there" if goal_id in before else None, "there" if goal_id in after else None)


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
