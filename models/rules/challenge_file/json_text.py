"""JSON written by hand, read strictly, with the position of every fault.

The text of a file becomes its value, and the locations where one object names a key twice, which
``json`` would silently take the last of.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""

_MAX_DIGITS = 400
"""Longer whole numbers are read as infinite: no double holds them, and ``int`` itself refuses some."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


class JsonTextError(ValueError):
    """The text is not JSON; the message says where and why, in one line."""


@dataclass
class _Container:
    """A list or object that a position of a text lies in."""

    start: int
    step: str | int | None
    """The key or index that the next value has; None before a key."""


class _Object(dict[str, Any]):
    """An object that remembers which of its keys it named more than once."""

    repeated: tuple[str, ...] = ()


def read_json(text: bytes | str) -> Any:
    """Read one JSON value.

    Raises:
        JsonTextError: the text is no UTF-8 or no JSON, or is nested too deeply to be read.
    """
    if isinstance(text, bytes):
        text = decode_json(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=whole_number)
    except json.JSONDecodeError as error:
        raise JsonTextError(f"line {error.lineno}, column {error.colno}: is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise JsonTextError("is nested too deeply") from error


def repeated_keys(value: Any) -> Iterator[Path]:
    """Where an object of a value from ``read_json`` names a key twice."""
    for path, part in walk(value):
        if isinstance(part, _Object):
            yield from ((*path, key) for key in part.repeated)


def walk(value: Any) -> Iterator[tuple[Path, Any]]:
    """Every value within a value, itself included. It keeps its own stack, for files may nest deeply."""
    pending: list[tuple[Path, Any]] = [((), value)]
    while pending:
        path, part = pending.pop()
        yield path, part
        if isinstance(part, dict):
            pending.extend(((*path, key), inner) for key, inner in part.items())
        elif isinstance(part, list):
            pending.extend(((*path, index), inner) for index, inner in enumerate(part))


def spans(text: str) -> Iterator[tuple[Path, int, int]]:
    """Where each value of a text that ``read_json`` reads begins and ends, so that one can be replaced alone."""
    around: list[_Container] = []
    for token in _TOKEN.finditer(text):
        found, inside = token[0], around[-1] if around else None
        if found in "[{":
            around.append(_Container(token.start(), 0 if found == "[" else None))
        elif inside and found in "]}":
            around.pop()
            yield tuple(one.step for one in around if one.step is not None), inside.start, token.end()
        elif inside and found == ",":
            inside.step = inside.step + 1 if isinstance(inside.step, int) else None
        elif inside and inside.step is None:
            inside.step = json.loads(found)
        elif found != ":":
            yield tuple(one.step for one in around if one.step is not None), token.start(), token.end()


def items(owner: Any, key: str) -> Iterator[tuple[int, Any]]:
    """The items of the list that an object has under a key, with their indexes; none where there is no such list."""
    found = owner.get(key) if isinstance(owner, dict) else None
    return enumerate(found if isinstance(found, list) else [])


def decode_json(text: bytes) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        JsonTextError: it is not UTF-8.
    """
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_start = text.rfind(b"\n", 0, error.start) + 1
        line, column = text.count(b"\n", 0, error.start) + 1, error.start - line_start + 1
        raise JsonTextError(f"line {line}, byte {column}: is not UTF-8") from error


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        made.repeated = tuple(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return made


def whole_number(digits: str) -> int | float:
    """A whole number from its digits, however many."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
