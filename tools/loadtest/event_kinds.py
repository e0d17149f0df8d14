"""Which events a rulebook waits for, and what they must carry to move its goals."""

from typing import Any, NamedTuple

import orjson

from cli.client.messages import LOGIN, STATISTIC
from models.events import MAX_EXACT
from models.rules.goals import Rulebook
from models.rules.rule import Condition, Rule, Scalar, leaves

_PAYLOAD = "payload."
_MISS = "another"
"""A value that few conditions hold for."""
_MIX = 0x9E3779B1
"""Spreads an event's index over the values its payload may have (Knuth's multiplicative hash)."""


class Field(NamedTuple):
    """A field of an event's payload that rules look at."""

    path: tuple[str, ...]
    values: tuple[Scalar, ...]
    """What it may hold; each is as likely."""


class Kind(NamedTuple):
    """A type of event, and what the rules on it measure."""

    event_type: str
    values: frozenset[str]
    """What the rules take the values of its events for: ``growing``, ``gain``."""
    top: float
    """What growing values grow to; above the highest target on them."""
    fields: tuple[Field, ...] = ()

    def payload(self, index: int) -> bytes:
        """The payload of an event, the same for the same index; empty where no rule looks at one."""
        told: dict[str, Any] = {}
        mixed = (index + 1) * _MIX
        for path, values in self.fields:
            mixed, choice = divmod(mixed, len(values))
            _put(told, path, values[choice])
        return orjson.dumps(told) if told else b""


def kinds_of(rulebook: Rulebook, *, platform_only: bool) -> tuple[Kind, ...]:
    """The types of event that the rules wait for, those of composites' parts included; a login where there is none.

    ``platform_only``: only logins and statistics, without payloads.
    """
    rules: dict[str, list[Rule]] = {}
    for goal in rulebook.goals:
        for rule in leaves(goal.rule):
            for event_type in dict.fromkeys(rule.events):
                rules.setdefault(event_type, []).append(rule)
    kinds = [
        _kind(event_type, found, with_payload=not platform_only)
        for event_type, found in sorted(rules.items())
        if not platform_only or event_type == LOGIN or event_type.startswith(STATISTIC)
    ]
    return tuple(kinds) or (Kind(LOGIN, frozenset(), 1.0),)


def _kind(event_type: str, rules: list[Rule], *, with_payload: bool) -> Kind:
    highest = max((rule.target for rule in rules if rule.values == "growing"), default=1)
    top = max(-MAX_EXACT + 1, min(2 * highest, MAX_EXACT - 1))
    return Kind(event_type, frozenset(rule.values for rule in rules), top, _fields(rules) if with_payload else ())


def _fields(rules: list[Rule]) -> tuple[Field, ...]:
    """Every field of the payload that rules look at, with values that some of them count and others do not."""
    found: dict[str, dict[Scalar, None]] = {}
    for rule in rules:
        if rule.field is not None and rule.field.startswith(_PAYLOAD):
            found.setdefault(rule.field, {}).update(dict.fromkeys(rule.sample_values()))
        for condition in rule.where:
            if condition.field.startswith(_PAYLOAD):
                found.setdefault(condition.field, {}).update(dict.fromkeys(_asked(condition)))
    return tuple(Field(tuple(name.split(".")[1:]), tuple(values)) for name, values in sorted(found.items()))


def _asked(condition: Condition) -> tuple[Scalar, ...]:
    """Values that the condition holds for, and others."""
    wanted = condition.value
    if isinstance(wanted, tuple):
        return *wanted, _MISS
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        return wanted, wanted + 1, wanted - 1
    return wanted, _MISS


def _put(told: dict[str, Any], path: tuple[str, ...], value: Scalar) -> None:
    """Write a value where it belongs, unless a shorter path has taken it."""
    for name in path[:-1]:
        inner = told.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        told = inner
    told.setdefault(path[-1], value)
