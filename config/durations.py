"""Durations in settings and rules: ``500ms``, ``1s``, ``5m``, ``36h``, ``2w``."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")


def parse_duration(text: str) -> timedelta:
    """Read one duration, a positive number followed by its unit.

    Raises:
        ValueError: the text is no duration, is zero, or is longer than a timedelta can hold.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 1s, 5m, 36h or 40d")
    try:
        length = timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long for a duration") from error
    if length <= timedelta(0):
        raise ValueError(f"{text!r} must be longer than zero")
    return length


def format_duration(length: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back: ``7d``, ``36h``, ``500ms``."""
    for unit in ("d", "h", "m", "s", "ms"):  # weeks are read, and shown in days
        one = timedelta(**{_UNITS[unit]: 1})
        if length % one == timedelta(0):
            return f"{length // one}{unit}"
    return f"{length / timedelta(milliseconds=1):f}ms"


def _from_setting(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_from_setting)]
"""A pydantic field that reads the notation above."""


def at_most(longest: str) -> AfterValidator:
    """The upper bound of a duration, in the notation above."""
    limit = parse_duration(longest)

    def check(length: timedelta) -> timedelta:
        if length > limit:
            raise ValueError(f"must be at most {longest}")
        return length

    return AfterValidator(check)


def at_least(shortest: str) -> AfterValidator:
    """The lower bound of a duration, in the notation above."""
    limit = parse_duration(shortest)

    def check(length: timedelta) -> timedelta:
        if length < limit:
            raise ValueError(f"must be at least {shortest}")
        return length

    return AfterValidator(check)
