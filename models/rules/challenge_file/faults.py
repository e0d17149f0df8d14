"""Faults of a challenges file as text: one line each, by challenge and field.

A fault of an expression is followed by two indented lines: the expression, and a caret under the location.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from models.rules.challenge_file.json_text import Path
from models.rules.forms.words import MAX_SHOWN, in_words, named

_REASONS = {
    "missing": "is missing",
    "string_type": "must be text, is {found}",
    "dict_type": "must be an object, is {found}",
    "model_type": "must be an object, is {found}",
    "list_type": "must be a list, is {found}",
    "too_short": "must hold at least {min_length}, holds {actual_length}",
    "too_long": "must hold at most {max_length}, holds {actual_length}",
    "bool_type": "must be true or false, is {found}",
    "string_too_short": "must not be empty",
    "literal_error": "must be {expected}, is {found}",
}
"""What a kind of pydantic error means here."""


class Fault(NamedTuple):
    """What is wrong at one location of the file."""

    path: Path
    reason: str
    """The end of a sentence whose subject is the location."""
    excerpt: tuple[str, ...] = ()
    """The line of an expression, and a line with the caret."""


def render(file: str, root: Any, faults: Iterable[Fault]) -> list[str]:
    """The faults of a file, in its order of challenges and goals, each once: a line, and that of its excerpt below."""
    ordered = sorted(faults, key=lambda fault: _position(fault.path))
    return list(dict.fromkeys(f"{file}: {_location(root, fault.path)}{_said(fault)}" for fault in ordered))


def _said(fault: Fault) -> str:
    return "\n    ".join((fault.reason, *fault.excerpt))


def shape_reason(error: Mapping[str, Any], known_keys: Sequence[str]) -> str:
    """What pydantic found, in our words; ``known_keys`` are those of the object around an unknown key."""
    context: Mapping[str, Any] = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    if error["type"] == "extra_forbidden":
        return f"is not a known key{did_you_mean(error['loc'][-1], known_keys)}"
    if context.get("min_length") == 1:
        return "must not be empty"
    found = in_words(error["input"])
    if error["type"] not in _REASONS:
        return f"{error['msg']}, is {found}"
    expected = str(context.get("expected")).replace("'", "")
    return _REASONS[error["type"]].format_map({**context, "found": found, "expected": expected})


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """``; did you mean count?`` where a known word is close, else nothing."""
    close = get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _position(path: Path) -> tuple[int, int]:
    indexes = [step for step in path[:4] if isinstance(step, int)]
    return (indexes[0] if indexes else -1, indexes[1] if len(indexes) > 1 else -1)


def _location(root: Any, path: Path) -> str:
    """``challenge 'c', goal 'g': requirement.target: `` for a path that leads there."""
    owners: list[str] = []
    node, rest = root, path
    for kind, key in (("challenge", "challenges"), ("goal", "goals")):
        if len(rest) < 2 or rest[0] != key or not isinstance(rest[1], int):
            break
        node = node[key][rest[1]]
        owners.append(f"{kind} {_identity(node, rest[1])}")
        rest = rest[2:]
    parts = [", ".join(owners), _field(rest)]
    return "".join(f"{part}: " for part in parts if part)


def _identity(node: Any, index: int) -> str:
    """The id a challenge or goal gives itself, or its position where it has none to show."""
    own = node.get("id") if isinstance(node, dict) else None
    return named(own) if isinstance(own, str) and own else f"number {index + 1}"


def _field(path: Path) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if step.isidentifier() and len(step) <= MAX_SHOWN else named(step))
    return text
