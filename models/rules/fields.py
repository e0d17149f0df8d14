"""Fields of an event as rules read them, and conditions over them."""

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from operator import ge, gt, le, lt
from typing import Any

import orjson

from models.events import MAX_EXACT, Event
from models.rules.rule import Condition, Scalar

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_MARK_BITS = 52
_MISSING: Any = object()


class EventFields:
    """The fields of one event; the payload is read once, and only when a rule asks for it."""

    __slots__ = ("_attributes", "_event", "_payload")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._payload: Any = _MISSING
        self._attributes: Any = _MISSING

    def value(self, field: str) -> Any:
        """What the event has under a name such as ``value`` or ``payload.course.id``; None where it has nothing."""
        name, *path = field.split(".")
        if name != "payload":
            return getattr(self._event, name)
        if self._payload is _MISSING:
            self._payload = orjson.loads(self._event.payload) if self._event.payload else {}
        found = self._payload
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def number(self, field: str) -> float | None:
        """The number under a name; None where there is none that a double holds exactly."""
        found = self.value(field)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        return found if -MAX_EXACT <= found <= MAX_EXACT else None

    def meet(self, conditions: Iterable[Condition]) -> bool:
        """Whether all conditions hold."""
        return all(_holds(self.value(condition.field), condition) for condition in conditions)

    def in_segments(self, segments: Mapping[str, tuple[Scalar, ...]]) -> bool:
        """Whether the user's attributes, as they stood when the event was applied, have one value of each segment."""
        if self._attributes is _MISSING:
            self._attributes = orjson.loads(self._event.attributes) if self._event.attributes else {}
        return in_segments(self._attributes, segments)


def in_segments(attributes: Mapping[str, Any], segments: Mapping[str, tuple[Scalar, ...]]) -> bool:
    """Whether attributes have one value of each segment."""
    return all(any(_same(attributes.get(name), value) for value in values) for name, values in segments.items())


def value_mark(value: Any) -> int | None:
    """A number that stands for a value when different ones are counted; None for what is no scalar, or null.

    52 bits, which Lua holds exactly: among 256 different values two share one with a chance of about 10**-11.
    """
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    digest = blake2b(orjson.dumps(value), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _MARK_BITS)


def _holds(found: Any, condition: Condition) -> bool:
    wanted = condition.value
    if isinstance(wanted, tuple):
        return any(_same(found, value) for value in wanted) == (condition.cmp == "in")
    if condition.cmp in ("==", "!="):
        return _same(found, wanted) == (condition.cmp == "==")
    return _ordered(found, wanted) and _COMPARE[condition.cmp](found, wanted)


def _same(found: Any, wanted: Scalar) -> bool:
    """Equal as JSON sees it: true is not 1."""
    return isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


def _ordered(found: Any, wanted: Scalar) -> bool:
    """Whether two values can be less or greater: two numbers, or two texts."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return False
    numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
    return numbers or (isinstance(found, str) and isinstance(wanted, str))
