"""Rules that count calendar periods, and goals that are active on too few of them."""

from collections.abc import Iterator

from models.rules.calendar import period_number
from models.rules.goals import Goal
from models.rules.rule import USER_ZONE, Rule

_HOUR_US = 3_600_000_000
_EARLIEST_ZONE_US, _LATEST_ZONE_US = -12 * _HOUR_US, 14 * _HOUR_US


def too_short(rule: Rule, goal: Goal) -> Iterator[tuple[str, str]]:
    """A target that is more than the periods of the rule's unit on which the goal is active."""
    begin, end = goal.active_from, goal.active_until
    if begin is None or end is None:
        return
    unit, zone, last = rule.unit or "day", rule.timezone, end - 1
    if zone == USER_ZONE:  # the periods of users who travel
        begin, last, zone = max(begin + _EARLIEST_ZONE_US, 0), last + _LATEST_ZONE_US, "UTC"
    periods = period_number(unit, last, zone) - period_number(unit, begin, zone) + 1
    if rule.target > periods:
        yield (
            "target",
            f"can never be reached: it is {int(rule.target)}, but the goal is active on {periods} {unit}s only",
        )
