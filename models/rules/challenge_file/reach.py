"""Targets that no events can reach, as far as the file alone tells."""

from collections.abc import Iterator

from models.rules.calendar import to_datetime
from models.rules.challenge_file.faults import Fault
from models.rules.challenge_file.json_text import Path
from models.rules.forms.values import duration_text
from models.rules.goals import Goal, Rulebook
from models.rules.rule import Rule


def reach_faults(rulebook: Rulebook, goal: Goal) -> Iterator[Fault]:
    """The targets in a goal that cannot be reached, with paths that begin at the goal."""
    yield from _in_rule(rulebook, goal, goal.rule, ("rule",))


def _in_rule(rulebook: Rulebook, goal: Goal, rule: Rule, path: Path) -> Iterator[Fault]:
    yield from (Fault((*path, key), reason) for key, reason in rule.reach_faults(goal))
    if rule.is_composite:
        yield from _far_apart(rulebook, rule, path)
    for index, part in enumerate(rule.of):
        if isinstance(part, Rule):
            yield from _in_rule(rulebook, goal, part, (*path, "of", index))


def _far_apart(rulebook: Rulebook, rule: Rule, path: Path) -> Iterator[Fault]:
    """Goals that must all be complete within a duration, though they are never active so close to each other."""
    if rule.within is None or rule.target < len(rule.of):
        return
    named = [rulebook.by_id[part] for part in rule.of if isinstance(part, str)]
    begins = [goal.active_from for goal in named if goal.active_from is not None]
    ends = [goal.active_until for goal in named if goal.active_until is not None]
    if begins and ends and max(begins) - (min(ends) - 1) > rule.within:
        first, second = to_datetime(min(ends)), to_datetime(max(begins))
        yield Fault(
            (*path, "within"),
            f"can never hold: one part ends at {first.isoformat()}, another begins at {second.isoformat()}, "
            f"more than {duration_text(rule.within)} apart",
        )
