"""Compiled goals as PostgreSQL keeps them.

The meaning stands with each version, the rest with each publication.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from models.exact import is_zone
from models.rules.goals import Goal, Policy
from models.rules.operators import make_rule
from models.rules.rule import USER_ZONE, Comparison, Condition, Period, Rule

_COMPARISONS = frozenset(get_args(Comparison))
_PERIODS = frozenset({None, *get_args(Period)})
_POLICIES = frozenset(get_args(Policy))
_SHOWN = ("name", "description", "reward", "hidden", "secret", "on_change", "prerequisites")
"""What a publication keeps of a goal: none of it makes a new version, but for which prerequisites there are."""


def definition_of(goal: Goal) -> dict[str, Any]:
    """What a version keeps of a goal: its meaning, and its texts as they were when it was published."""
    return {"name": goal.name, "description": goal.description, **goal.meaning()}


def shown_of(goal: Goal) -> dict[str, Any]:
    """What a publication keeps of a goal beside the number of its version; defaults are left out."""
    values = ((name, getattr(goal, name)) for name in _SHOWN)
    return {"id": goal.goal_id, **{name: value for name, value in values if value}}


def compiled_goal(definition: dict[str, Any], goal_id: str, digest: str) -> Goal | None:
    """The goal of a stored definition; None where this release cannot tell its whole meaning from that."""
    try:
        goal = goal_of(definition, goal_id)
        is_known = goal.digest == digest and _is_known(goal.rule)
    except (KeyError, TypeError, ValueError, AttributeError):  # another release wrote it, in words of its own
        return None
    return goal if is_known else None


def with_shown(goal: Goal, shown: Mapping[str, Any]) -> Goal:
    """A compiled goal as a publication shows it.

    Raises:
        ValueError, TypeError: another release shows what this one has no meaning for.
    """
    said = {name: value for name, value in shown.items() if name in _SHOWN}
    if said.get("on_change", "keep") not in _POLICIES:
        raise ValueError(f"on_change is {said['on_change']}")
    return replace(goal, **said | {"prerequisites": tuple(said.get("prerequisites", ()))})


def rule_of(definition: dict[str, Any]) -> Rule:
    """The rule of a stored definition, also of one that the first release wrote."""
    if _is_of_the_first_release(definition):
        return make_rule(
            definition["operator"],
            events=(definition["event"],),
            target=definition["target"],
            per=definition["per"],
            **({"stops_at_target": True} if definition["stops_at_target"] else {}),
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
    said["target"] = int(said["target"]) if said["target"] == int(said["target"]) else said["target"]
    said["events"] = tuple(said.get("events", ()))
    said["where"] = tuple(Condition(field, cmp, _tupled(value)) for field, cmp, value in said.get("where", ()))
    said["of"] = tuple(_rule(part) if isinstance(part, dict) else part for part in said.get("of", ()))
    return make_rule(**said)


def _is_known(rule: Rule) -> bool:
    """Whether this release has a meaning for every word of a rule."""
    return (
        {rule.per, rule.unit} <= _PERIODS
        and (rule.timezone == USER_ZONE or is_zone(rule.timezone))
        and all(condition.cmp in _COMPARISONS for condition in rule.where)
        and all(_is_known(part) for part in rule.of if isinstance(part, Rule))
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
