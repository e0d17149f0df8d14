"""JSON values as error messages show them."""

from typing import Any

MAX_SHOWN = 60
"""Characters of a value that a message repeats."""


def in_words(value: Any) -> str:
    """A JSON value for a message: short, and on one line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return named(value)
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return repr(value)[:MAX_SHOWN]


def named(text: str) -> str:
    """Text in quotes, shortened, with whatever would break the line escaped."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…")
