"""Goals of two files, publications or versions, compared field by field."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from models.database.rules.definitions import definition_of, rule_of
from models.database.rules.history import VersionRecord
from models.rules.calendar import to_datetime
from models.rules.challenge_file.rule_text import json_of
from models.rules.goals import Goal, Rulebook

Fields = Mapping[str, Any]
"""What is said of a goal, by the location where it is said, such as ``rule.target``."""


class Difference(NamedTuple):
    """A field that two sides say differently; None where one does not say it."""

    goal_id: str
    field: str
    """Empty where one side has no such goal."""
    before: Any
    after: Any


def fields_of_version(record: VersionRecord) -> Fields:
    """What a version says."""
    return _flat(_readable(record.definition))


def fields_of_goals(rulebook: Rulebook) -> dict[str, Fields]:
    """What a challenges file says of each goal."""
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
    """Every value by its location; a list of plain values is one value."""
    if isinstance(said, Mapping):
        parts = {f"{path}.{name}" if path else str(name): value for name, value in said.items()}
    elif isinstance(said, list) and any(isinstance(value, Mapping) for value in said):
        parts = {f"{path}[{number}]": value for number, value in enumerate(said, start=1)}
    else:
        return {path: said}
    return {field: value for name, part in parts.items() for field, value in _flat(part, name).items()}


def differences(goal_id: str, before: Fields, after: Fields) -> Iterator[Difference]:
    """The fields that are not said alike, those of ``before`` first."""
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field):
            yield Difference(goal_id, field, before.get(field), after.get(field))


def compared(before: Mapping[str, Fields], after: Mapping[str, Fields]) -> Iterator[Difference]:
    """The differences of all goals; a goal that only one side has is one difference."""
    for goal_id in dict.fromkeys((*before, *after)):
        if goal_id in before and goal_id in after:
            yield from differences(goal_id, before[goal_id], after[goal_id])
        else:
            yield Difference(goal_id, "", "there" if goal_id in before else None, "there" if goal_id in after else None)
