"""The Lua scripts as Redis gets them: assembled, with names of ``wire`` replaced.

Three things are written in a script that are not Lua:

* ``-- include: <part>``, a line of its own: the text of ``lua/apply/<part>.lua``; ``operators/*``: of all operators
* ``Row.state``, ``Limit.CHUNK``: a position, a number or a text
* ``Part{ node_id = ..., exact = ... }``: a list with the fields of a record in their order, each given once
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from models.wire import constants, fields_of

_LUA = Path(str(files("models.state") / "lua"))
_TEXTS = {path.stem: path for path in sorted(_LUA.rglob("*.lua"))}
OPERATORS = tuple(name for name, path in _TEXTS.items() if path.parent == _LUA / "apply/operators")
"""The operators that have a file of their own."""
PARTS = tuple(name for name, path in _TEXTS.items() if path.parent == _LUA / "apply")
"""The parts that scripts include."""
SCRIPTS = tuple(name for name in _TEXTS if name not in (*PARTS, *OPERATORS))
"""The scripts."""
_SKIPPED = r"--\[\[.*?\]\]|--[^\n]*|'[^'\n]*'"
"""Comments and texts, in which nothing is replaced."""
_INCLUDE = re.compile(r"^-- include: (\w+)(/\*)?$", re.MULTILINE)
_NAME = re.compile(rf"{_SKIPPED}|(?<![\w.:])([A-Z]\w*\.\w+)", re.DOTALL)
_OPENING = re.compile(rf"{_SKIPPED}|(?<![\w.])([A-Z]\w*) ?\{{", re.DOTALL)
_TOKEN = re.compile(rf"{_SKIPPED}|[][(){{}},]", re.DOTALL)
_FIELD = re.compile(r"\s*(\w+) = (.+?)\s*", re.DOTALL)


def script_source(name: str, more: Mapping[str, int | str] = MappingProxyType({})) -> str:
    """The text of the script ``<name>.lua`` as Redis gets it; ``more``: names beside those of ``models/wire.py``.

    Raises:
        ValueError: it names a position, number or record that Python does not know, or leaves out a field.
    """
    try:
        return in_lua(with_parts(name), more)
    except ValueError as error:
        raise ValueError(f"{name}.lua: {error}") from error


def with_parts(name: str) -> str:
    """The text of a script with those of its parts, before anything is replaced."""
    return _INCLUDE.sub(_included, source_of(name))


def _included(line: re.Match[str]) -> str:
    if not line[2]:
        return with_parts(line[1])
    return "\n".join(f"do\n{source_of(name)}end" for name in OPERATORS)  # each has its locals for itself


def in_lua(text: str, more: Mapping[str, int | str] = MappingProxyType({})) -> str:
    """A text with records as lists and names as numbers.

    Raises:
        ValueError: as ``script_source``.
    """
    known = constants() | dict(more)
    owners = {name.partition(".")[0] for name in known}

    def replaced(found: re.Match[str]) -> str:
        if found[1] is None or found[1].partition(".")[0] not in owners:
            return found[0]
        if found[1] not in known:
            raise ValueError(f"Python knows nothing that is called {found[1]}")
        value = known[found[1]]
        return str(value) if isinstance(value, int) else _quoted(value)

    return _NAME.sub(replaced, _with_records(text))


def source_of(name: str) -> str:
    """The text of the file of a script or of a part."""
    return _TEXTS[name].read_text(encoding="utf-8")


def _quoted(text: str) -> str:
    return "'" + "".join(c if c.isprintable() and c not in "'\\" else f"\\{ord(c):03d}" for c in text) + "'"


def _with_records(text: str) -> str:
    """The text with each ``Record{ field = value }`` as a list; innermost ones last, for they stand in values."""
    made, rest = "", text
    while opening := _OPENING.search(rest):
        if opening[1] is None:
            made, rest = made + rest[: opening.end()], rest[opening.end() :]
            continue
        values, length = _values(rest[opening.end() :])
        made += rest[: opening.start()]
        rest = f"{{ {', '.join(_ordered(opening[1], values))} }}" + rest[opening.end() + length :]
    return made + rest


def _values(text: str) -> tuple[list[str], int]:
    """What stands between commas up to the closing brace, and how long that is."""
    values, depth, first = [], 0, 0
    for token in _TOKEN.finditer(text):
        if depth == 0 and token[0] in (",", "}"):
            values.append(text[first : token.start()])
            first = token.end()
            if token[0] == "}":
                return [value for value in values if value.strip()], first
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token[0], 0)
    raise ValueError("a record does not end")


def _ordered(record: str, values: list[str]) -> list[str]:
    given: dict[str, str] = {}
    for value in values:
        field = _FIELD.fullmatch(value)
        if field is None or field[1] in given:
            raise ValueError(f"{record} does not read as field = value, each once: {value.strip()}")
        given[field[1]] = field[2]
    wanted = fields_of(record)
    if set(given) != set(wanted):
        raise ValueError(f"{record} has the fields {', '.join(wanted)}, not {', '.join(given)}")
    return [given[name] for name in wanted]
