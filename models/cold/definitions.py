"""A goal's meaning as PostgreSQL keeps it with each version, and back from there."""

from typing import Any

from models.rules.goals import Goal
from models.rules.rule import Condition, Rule


def definition_of(goal: Goal) -> dict[str, Any]:
    """What a version keeps of a goal: its meaning, and its texts as they were when it was published."""
    return {"name": goal.name, "description": goal.description, **goal.meaning()}


def rule_of(definition: dict[str, Any]) -> Rule:
    """The rule of a stored definition, also of one that the first release wrote."""
    if _is_of_the_first_release(definition):
        return Rule(
            op=definition["operator"],
            events=(definition["event"],),
            target=definition["target"],
            per=definition["per"],
            stops_at_target=definition["stops_at_target"],
        )
    return _rule(definition["rule"])


def goal_of(definition: dict[str, Any], goal_id: str) -> Goal:
    """The goal that a stored definition tells of, as far as its meaning goes."""
    return Goal(
        goal_id=goal_id,
        challenge_id=definition["challenge"],
        name=definition["name"],
        rule=rule_of(definition),
        prerequisites=tuple(definition.get("prerequisites", ())),
        active_from=definition.get("active_from"),
        active_until=definition.get("active_until"),
        segments={name: tuple(values) for name, values in definition.get("segments", {}).items()},
    )


def same_meaning(definition: dict[str, Any], goal: Goal) -> bool:
    """Whether a definition of the first release, whose digests were made otherwise, means what a goal means.

    That release knew no active window and no segments, and its prerequisites had no effect.
    """
    return (
        _is_of_the_first_release(definition)
        and definition["challenge"] == goal.challenge_id
        and rule_of(definition).meaning() == goal.rule.meaning()
        and (goal.active_from, goal.active_until) == (None, None)
        and not goal.segments
    )


def _is_of_the_first_release(definition: dict[str, Any]) -> bool:
    return "operator" in definition


def _rule(meaning: dict[str, Any]) -> Rule:
    said = dict(meaning)
    said["events"] = tuple(said.get("events", ()))
    said["where"] = tuple(Condition(field, cmp, _tupled(value)) for field, cmp, value in said.get("where", ()))
    said["of"] = tuple(_rule(part) if isinstance(part, dict) else part for part in said.get("of", ()))
    return Rule(**said)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
