"""Errors of expressions: the line, a caret, and what was expected there."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from models.rules.challenge_file.faults import did_you_mean
from models.rules.challenge_file.json_text import Path

_SHOWN = 110
"""Characters of a line that are shown around the location."""

_WORDS = {
    "LEAF": "an operator such as count(",
    "EVENT": "an event type",
    "GOAL": "a goal id",
    "FIELD": "a field such as payload.minutes",
    "NUMBER": "a number",
    "DURATION": "a duration such as 7d",
    "PERIOD": "day, week or month",
    "WORD": "a value",
    "KEY": "a setting such as within=7d",
    "STRING": "a text in quotes",
    "TRUE": "true",
    "FALSE": "false",
    "NULL": "null",
    "COMPARISON": "a comparison such as ==",
    "IN": "'in'",
    "NOT": "'not in'",
    "LSQB": "'['",
    "EQUAL": "'='",
    "LPAR": "'('",
    "COMMA": "','",
    "RPAR": "')'",
    "RSQB": "']'",
    "_AND": "'and'",
    "WHERE": "'where'",
    "PER": "'per'",
    "LAST": "'last'",
    "THRESHOLD": "a threshold such as >= 10",
    "$END": "the end",
}
"""What people call the grammar's terminals, in the order in which they are listed."""
_NAMES = {"EVENT", "GOAL", "FIELD", "WORD"}
"""Where one of these may stand, so may a text in quotes."""


class Location(NamedTuple):
    """A location in an expression, both counted from 1."""

    line: int
    column: int


class ExpressionError(ValueError):
    """A text that is no rule; as text it is the line, a caret under the location, and the reason."""

    def __init__(self, text: str, location: Location, reason: str, expected: tuple[str, ...] = ()) -> None:
        line, caret = excerpt(text, location)
        super().__init__(f"{line}\n{caret}: {reason}")
        self.location = location
        self.reason = reason
        """The reason alone; ``expected ',' or ')'`` for a text that does not follow the grammar."""
        self.expected = expected
        """What may stand at the location, in words; empty where the grammar is followed."""

    @property
    def line(self) -> int:
        """The line of the location, from 1."""
        return self.location.line

    @property
    def column(self) -> int:
        """The column of the location, from 1."""
        return self.location.column


def excerpt(text: str, location: Location) -> tuple[str, str]:
    """The line of a location, cut to what fits, and below it a caret with the location in numbers."""
    lines = re.split(r"\r\n|\r|\n", text)
    line = "".join(character if character.isprintable() else " " for character in lines[location.line - 1])
    start = max(0, min(location.column - 1 - _SHOWN // 2, len(line) - _SHOWN))
    shown, indent = line[start : start + _SHOWN], location.column - 1 - start
    if start:
        shown, indent = f"…{shown}", indent + 1
    if start + _SHOWN < len(line):
        shown += "…"
    return shown, f"{' ' * indent}^ line {location.line}, column {location.column}"


def location_at(text: str, position: int) -> Location:
    """The location of a character."""
    before = re.split(r"\r\n|\r|\n", text[:position])
    return Location(len(before), len(before[-1]) + 1)


def location_of(path: Path, locations: Mapping[Path, Location]) -> Location:
    """The location of the value at a path, or of the nearest one around it."""
    while path not in locations:
        path = path[:-1]
    return locations[path]


def in_words(terminals: Iterable[str]) -> tuple[str, ...]:
    """What people call the grammar's terminals."""
    known = set(terminals)
    if known & _NAMES:
        known.discard("STRING")
    return tuple(word for name, word in _WORDS.items() if name in known)


def unexpected(text: str, position: int, terminals: Iterable[str], operators: Iterable[str]) -> ExpressionError:
    """The error for a location where the grammar expects something else."""
    known = set(terminals)
    found = re.compile(r"[A-Za-z_]+(?=\s*\()").match(text, position) if "LEAF" in known else None
    called = (
        re.search(r"([A-Za-z_][A-Za-z0-9_.:-]*)\s*\Z", text[:position])
        if text[position : position + 1] == "("
        else None
    )
    if called is not None:
        position, found = called.start(), called
    if found is not None:
        word = found[1] if found.re.groups else found[0]
        reason = f"{word} is not an operator{did_you_mean(word, operators)}"
        return ExpressionError(text, location_at(text, position), reason, tuple(operators))
    expected = in_words(known)
    if text[position : position + 1] in ("'", '"') and "STRING" in known:
        return ExpressionError(text, location_at(text, position), "the text that begins here does not end", expected)
    return ExpressionError(text, location_at(text, position), f"expected {_listed(expected)}", expected)


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "nothing more"
