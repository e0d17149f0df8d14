"""JSON as people write it by hand: read strictly, with every fault placed where an editor finds it.

In comes the text of a file; out goes its value, and the places where one object names a key twice, which
``json`` would settle silently in favour of the last.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""

_MAX_DIGITS = 400
"""Longer whole numbers are read as infinite: no double holds them, and ``int`` itself refuses some."""


class JsonTextError(ValueError):
    """The text is not JSON; the message says where and why, in one line."""


class _Object(dict[str, Any]):
    """An object that remembers which of its keys it named more than once."""

    repeated: tuple[str, ...] = ()


def read_json(text: bytes | str) -> Any:
    """Read one JSON value.

    Raises:
        JsonTextError: the text is no UTF-8 or no JSON, or is nested too deeply to be read.
    """
    if isinstance(text, bytes):
        text = _decode(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_whole_number)
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


def _decode(text: bytes) -> str:
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


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
