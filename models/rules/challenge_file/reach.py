"""Targets that no events can reach, as far as the file alone tells."""

from collections.abc import Iterator

from models.rules.calendar import period_number, to_datetime
from models.rules.challenge_file.faults import Fault
from models.rules.challenge_file.json_text import Path
from models.rules.challenge_file.rule_text import duration_text
from models.rules.goals import Goal, Rulebook
from models.rules.rule import COMPOSITES, USER_ZONE, Rule

_HOUR_US = 3_600_000_000
_EARLIEST_ZONE_US, _LATEST_ZONE_US = -12 * _HOUR_US, 14 * _HOUR_US


def reach_faults(rulebook: Rulebook, goal: Goal) -> Iterator[Fault]:
    """The targets in a goal that cannot be reached, with paths that begin at the goal."""
    yield from _in_rule(rulebook, goal, goal.rule, ("rule",))


def _in_rule(rulebook: Rulebook, goal: Goal, rule: Rule, path: Path) -> Iterator[Fault]:
    if rule.op == "streak":
        yield from _short_windows(goal, rule, path)
    if rule.op in COMPOSITES:
        yield from _far_apart(rulebook, rule, path)
    for index, part in enumerate(rule.of):
        if isinstance(part, Rule):
            yield from _in_rule(rulebook, goal, part, (*path, "of", index))


def _short_windows(goal: Goal, rule: Rule, path: Path) -> Iterator[Fault]:
    """A streak longer than the time in which the goal is active; missed periods that grace allows do not count."""
    begin, end = goal.active_from, goal.active_until
    if begin is None or end is None:
        return
    unit, zone, last = rule.unit or "day", rule.timezone, end - 1
    if zone == USER_ZONE:  # the periods of users who travel
        begin, last, zone = max(begin + _EARLIEST_ZONE_US, 0), last + _LATEST_ZONE_US, "UTC"
    periods = period_number(unit, last, zone) - period_number(unit, begin, zone) + 1
    if rule.target > periods:
        yield Fault(
            (*path, "target"),
            f"can never be reached: it is {int(rule.target)}, but the goal is active on {periods} {unit}s only",
        )


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
