"""The challenges file: its text in, a rulebook out, or every fault of it at once.

A goal has a ``rule``, or is of one of the three types of the system that Questline replaces: ``type``,
``event_source`` and ``requirement.target``. This module reads no file; it is told the file's name for its messages.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from models.errors import InvalidChallengesError
from models.rules.calendar import microseconds_of
from models.rules.challenge_file.faults import Fault, render
from models.rules.challenge_file.json_text import JsonTextError, Path, items, read_json, repeated_keys
from models.rules.challenge_file.limits import limit_faults
from models.rules.challenge_file.links import link_faults
from models.rules.challenge_file.rule_parser import RuleReading, read_rule
from models.rules.challenge_file.shapes import (
    ChallengeShape,
    FileShape,
    GoalType,
    RuleGoalShape,
    TypedGoalShape,
    shape_fault,
)
from models.rules.goals import Goal, Rulebook
from models.rules.operators import make_rule
from models.rules.rule import Condition, Rule

_DEFAULT_LATENESS = timedelta(days=7)


def parse_challenges(text: bytes | str, file: str, *, lateness: timedelta = _DEFAULT_LATENESS) -> Rulebook:
    """Read a challenges file; ``file`` is its name as the messages give it.

    ``lateness`` is how old an accepted event may be; the state of some rules grows with it. Limits and unreachable
    targets are looked at once nothing else is wrong.

    Raises:
        InvalidChallengesError: the file has faults; all of them, in the file's order.
    """
    try:
        root = read_json(text)
    except JsonTextError as error:
        raise InvalidChallengesError([f"{file}: {error}"]) from error
    rules = {path: read_rule(goal["rule"]) for path, goal in _raw_goals(root) if "rule" in goal}
    faults = [Fault(path, "is named twice in one object") for path in repeated_keys(root)]
    faults += link_faults(root, rules)
    try:
        parsed = FileShape.model_validate(root)
    except ValidationError as error:
        faults += dict.fromkeys(shape_fault(fault) for fault in error.errors(include_url=False))
    faults += [_below(path, fault) for path, reading in rules.items() for fault in reading.faults]
    if faults:
        raise InvalidChallengesError(render(file, root, faults))
    goals = {path: _goal(challenge, goal, rules.get(path)) for path, challenge, goal in _parsed_goals(parsed)}
    rulebook = Rulebook(tuple(goals.values()))
    faults = list(_located(goals, rules, limit_faults(rulebook, microseconds_of(lateness))))
    if faults:
        raise InvalidChallengesError(render(file, root, faults))
    return rulebook


def _raw_goals(root: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    for index, challenge in items(root, "challenges"):
        for position, goal in items(challenge, "goals"):
            if isinstance(goal, dict):
                yield ("challenges", index, "goals", position), goal


def _parsed_goals(file: FileShape) -> Iterator[tuple[Path, ChallengeShape, TypedGoalShape | RuleGoalShape]]:
    for index, challenge in enumerate(file.challenges):
        for position, goal in enumerate(challenge.goals):
            yield ("challenges", index, "goals", position), challenge, goal


def _below(goal: Path, fault: Fault) -> Fault:
    """A fault whose path begins at a goal's rule, as one of the file."""
    return fault._replace(path=(*goal, "rule", *fault.path))


def _located(
    goals: Mapping[Path, Goal], rules: Mapping[Path, RuleReading], faults: Iterable[tuple[str, Fault]]
) -> Iterator[Fault]:
    """Faults of goals by their ids, with paths that begin at the goal, as faults of the file."""
    paths = {goal.goal_id: path for path, goal in goals.items()}
    for goal_id, fault in faults:
        path = paths[goal_id]
        if fault.path[:1] == ("rule",) and path in rules:
            yield _below(path, rules[path].located(fault._replace(path=fault.path[1:])))
        else:
            yield fault._replace(path=(*path, *fault.path))


def _goal(challenge: ChallengeShape, goal: TypedGoalShape | RuleGoalShape, reading: RuleReading | None) -> Goal:
    rule = _typed_rule(goal) if isinstance(goal, TypedGoalShape) else reading and reading.rule
    assert rule is not None  # noqa: S101 - a goal whose rule could not be read is a fault, and there are none
    return Goal(
        goal_id=goal.id,
        challenge_id=challenge.id,
        name=goal.name or goal.id,
        description=goal.description,
        rule=rule,
        reward=goal.reward or None,
        prerequisites=tuple(goal.prerequisites),
        active_from=goal.active_from,
        active_until=goal.active_until,
        segments=goal.segments,
        hidden=goal.hidden,
        secret=goal.secret,
        on_change=goal.on_change,
    )


def _typed_rule(goal: TypedGoalShape) -> Rule:
    """What the three types mean."""
    events, target = (goal.event_source,), goal.requirement.target
    meaning: dict[GoalType, Rule] = {
        # A negative value is skipped, as in the system this replaces: a bar never falls below nothing.
        "absolute": make_rule("latest", events=events, target=target, where=(Condition("value", ">=", 0),)),
        "increment": make_rule("sum", events=events, target=target),
        # More of them are no change: "already completed".
        "daily": make_rule("count", events=events, target=target, per="day", stops_at_target=True),
    }
    return meaning[goal.type]
