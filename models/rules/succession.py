"""From one version of a goal to the next: changes that can keep progress."""

from collections.abc import Iterator

from models.rules.goals import Goal, Policy
from models.rules.rule import Rule

_SAME_EVENTS = ("op", "per", "unit", "timezone", "events", "where", "field")


def can_stay(old: Goal, new: Goal) -> bool:
    """Whether users in progress can stay on a version: the same events must move both.

    Else an event of the new version's time that only the old one looks at would be forgotten if it came before the
    late event that shows the user to have been in progress.
    """
    limits = ("active_from", "active_until", "segments")
    return not new.rule.is_composite and _alike(old, new, limits) and _alike(old.rule, new.rule, _SAME_EVENTS)


def policy_in_effect(old: Goal, new: Goal) -> Policy:
    """What becomes of progress: as the new goal asks where that can be, else the nearest to it."""
    asked = new.on_change
    if asked == "grandfather" and not can_stay(old, new):
        asked = "keep"
    return "restart" if asked == "keep" and not new.rule.can_keep(old.rule) else asked


def changes_of_kind(old: Rule, new: Rule, path: str = "rule") -> Iterator[str]:
    """Where a rule over other rules replaces one that looks at events, or the other way round.

    Rows of both kinds cannot be told apart by late events, so such a change needs a new id.
    """
    if old.is_composite != new.is_composite:
        yield f"{path}: was {old.op}, is {new.op}"
        return
    for position, (before, after) in enumerate(zip(old.of, new.of, strict=False)):
        if isinstance(before, Rule) and isinstance(after, Rule):
            yield from changes_of_kind(before, after, f"{path}.of[{position}]")


def _alike(old: Goal | Rule, new: Goal | Rule, names: tuple[str, ...]) -> bool:
    return all(getattr(old, name) == getattr(new, name) for name in names)
