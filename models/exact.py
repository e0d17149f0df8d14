"""Values that mean the same in Python, Lua, PostgreSQL and JSON. Pure functions."""

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from models.events import MAX_EXACT

PRINTABLE = r"^[^\p{Cc}\p{Zl}\p{Zp}]*$"
"""A text without control characters and line separators, as a pattern of pydantic's (Rust) regular expressions."""


def is_exact(value: Any) -> bool:
    """Whether it is a number that was not rounded on its way here.

    A float of exactly 2^53 may be what a parser left of 2^53 + 1, so that must be written as an integer.
    """
    if type(value) is float:
        return -MAX_EXACT < value < MAX_EXACT
    return type(value) is int and -MAX_EXACT <= value <= MAX_EXACT


def is_zone(name: str) -> bool:
    """Whether it is the name of an IANA time zone, such as ``Europe/Berlin``, to the dead letter."""
    return name in _zones()


@cache
def _zones() -> frozenset[str]:
    # "localtime" is no zone but whatever zone a machine is in.
    return frozenset(available_timezones() - {"localtime"})
