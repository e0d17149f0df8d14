"""Limits of a rulebook: small states, and targets that can be reached.

These checks follow those of shape and links, so the rules are whole, every goal they name exists, and nothing goes in
circles. Operators that keep what an event of the accepted lateness may still change grow with that lateness; the bounds
are those of docs/reference/rules.md.
"""

import re
from collections.abc import Iterator

from models.rules.calendar import PERIOD_MARGIN_US
from models.rules.challenge_file.faults import Fault
from models.rules.challenge_file.json_text import Path
from models.rules.challenge_file.reach import reach_faults
from models.rules.forms.words import named
from models.rules.goals import Goal, Rulebook
from models.rules.rule import Rule

MAX_NODES = 64
"""Rules in one goal, nested ones included."""
_PART_ID = re.compile(r"#(?:lock|[0-9]+)\Z")
"""The end of the ids that ``nodes.py`` gives to parts."""


def limit_faults(rulebook: Rulebook, lateness: int) -> Iterator[tuple[str, Fault]]:
    """The faults of goals by their ids, with paths that begin at the goal; ``lateness`` is in microseconds."""
    reach = lateness + PERIOD_MARGIN_US
    for goal in rulebook.goals:
        faults = [*_id_faults(goal), *_size_faults(goal), *_goal_faults(goal), *reach_faults(rulebook, goal)]
        for path, rule in rules_in(goal.rule, ("rule",)):
            faults += [*_state_faults(rule, path, reach), *_within_faults(rulebook, rule, path)]
        yield from ((goal.goal_id, fault) for fault in faults)


def rules_in(rule: Rule, path: Path = ()) -> Iterator[tuple[Path, Rule]]:
    """A rule and all that are nested in it, with their paths."""
    yield path, rule
    for index, part in enumerate(rule.of):
        if isinstance(part, Rule):
            yield from rules_in(part, (*path, "of", index))


def _id_faults(goal: Goal) -> Iterator[Fault]:
    """Also where no goal of this file has such a part, since rows outlive the publication that made them."""
    if _PART_ID.search(goal.goal_id):
        yield Fault(("id",), "must not end in #lock, or in # and a number: so the parts of goals are called")


def _size_faults(goal: Goal) -> Iterator[Fault]:
    size = sum(1 for _ in rules_in(goal.rule)) + bool(goal.prerequisites)
    if size > MAX_NODES:
        yield Fault(("rule",), f"holds {size} rules, prerequisites among them; at most {MAX_NODES} are allowed")


def _goal_faults(goal: Goal) -> Iterator[Fault]:
    """Goals whose rule names others cannot say which events those others count."""
    if not any(isinstance(part, str) for _, rule in rules_in(goal.rule) for part in rule.of):
        return
    for key in ("active_from", "active_until", "segments"):
        if getattr(goal, key):
            yield Fault((key,), "does not reach the goals that the rule names; set it on those goals")


def _state_faults(rule: Rule, path: Path, reach: int) -> Iterator[Fault]:
    """A state that would grow without a useful bound."""
    yield from (Fault((*path, key), reason) for key, reason in rule.state_faults(reach))


def _within_faults(rulebook: Rulebook, rule: Rule, path: Path) -> Iterator[Fault]:
    """Parts of a composite with ``within`` whose time of completion cannot be known."""
    if not rule.is_composite or rule.within is None:
        return
    for index, part in enumerate(rule.of):
        at: Path = (*path, "of", index)
        if isinstance(part, str):
            if reason := next(_untimed_goal(rulebook, part), None):
                yield Fault(at, reason)
        else:
            for below, leaf in rules_in(part, at):
                if reason := _untimed(leaf):
                    yield Fault(below, f"cannot be a part within a duration: {reason}")
                yield from _untimed_names(rulebook, leaf, below)


def _untimed_names(rulebook: Rulebook, rule: Rule, path: Path) -> Iterator[Fault]:
    for index, part in enumerate(rule.of):
        if isinstance(part, str) and (reason := next(_untimed_goal(rulebook, part), None)):
            yield Fault((*path, "of", index), reason)


def _untimed_goal(rulebook: Rulebook, goal_id: str) -> Iterator[str]:
    """Why a goal cannot be a part within a duration: its own rule, or that of one which it depends on."""
    seen: set[str] = set()
    pending = [goal_id]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        goal = rulebook.by_id[current]
        via = f"names the goal {named(goal_id)}" + ("" if current == goal_id else f", which needs {named(current)}")
        for _, rule in rules_in(goal.rule):
            if reason := _untimed(rule):
                yield f"{via}, which cannot be a part within a duration: {reason}"
            pending += [part for part in rule.of if isinstance(part, str)]
        pending += goal.prerequisites


def _untimed(rule: Rule) -> str | None:
    """Why the time at which a rule completes is not known in time."""
    return rule.untimed() if rule.per is None else f"it completes anew each {rule.per}"
