"""The Lua scripts as Redis gets them: assembled, with names of ``wire`` replaced.

Three things are written in a script that are not Lua:

* ``-- include: <part>``, a line of its own: the text of that part, which lies below ``lua/apply/``
* ``Row.state``, ``Limit.CHUNK``: a position, a number or a text
* ``Part{ node_id = ..., exact = ... }``: a list with the fields of a record in their order, each given once
"""

import re
from importlib.resources import files
from pathlib import Path

from models.wire import constants, fields_of

_LUA = Path(str(files("models.state") / "lua"))
_TEXTS = {path.stem: path for path in sorted(_LUA.rglob("*.lua"))}
PARTS = tuple(name for name, path in _TEXTS.items() if path.is_relative_to(_LUA / "apply"))
"""The parts that scripts include."""
SCRIPTS = tuple(name for name in _TEXTS if name not in PARTS)
"""The scripts."""
_CONSTANTS = constants()
_RECORD = "|".join(sorted({name.partition(".")[0] for name in _CONSTANTS}))
_SKIPPED = r"--\[\[.*?\]\]|--[^\n]*|'[^'\n]*'"
"""Comments and texts, in which nothing is replaced."""
_INCLUDE = re.compile(r"^-- include: (\w+)$", re.MULTILINE)
_NAME = re.compile(rf"{_SKIPPED}|(?<![\w.])((?:{_RECORD})\.\w+)", re.DOTALL)
_OPENING = re.compile(rf"{_SKIPPED}|(?<![\w.])({_RECORD}) ?\{{", re.DOTALL)
_TOKEN = re.compile(rf"{_SKIPPED}|[][(){{}},]", re.DOTALL)
_FIELD = re.compile(r"\s*(\w+) = (.+?)\s*", re.DOTALL)


def script_source(name: str) -> str:
    """The text of the script ``<name>.lua`` as Redis gets it.

    Raises:
        ValueError: it names a position, number or record that Python does not know, or leaves out a field.
    """
    try:
        return in_lua(with_parts(name))
    except ValueError as error:
        raise ValueError(f"{name}.lua: {error}") from error


def with_parts(name: str) -> str:
    """The text of a script with those of its parts, before anything is replaced."""
    return _INCLUDE.sub(lambda line: source_of(line[1]), source_of(name))


def in_lua(text: str) -> str:
    """A text with records as lists and names as numbers.

    Raises:
        ValueError: as ``script_source``.
    """
    return _NAME.sub(_constant, _with_records(text))


def source_of(name: str) -> str:
    """The text of the file of a script or of a part."""
    return _TEXTS[name].read_text(encoding="utf-8")


def _constant(found: re.Match[str]) -> str:
    if found[1] is None:
        return found[0]
    if found[1] not in _CONSTANTS:
        raise ValueError(f"nothing in models/wire.py is called {found[1]}")
    value = _CONSTANTS[found[1]]
    return str(value) if isinstance(value, int) else _quoted(value)


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
