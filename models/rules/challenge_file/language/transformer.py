"""From the grammar's parts to the JSON form of a rule.

Each callback bears the name of its rule in ``expression.lark``. Nothing here recurses, so that deep nesting in a text
does no harm before it is refused.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from lark import Token, Transformer, v_args

from models.rules.challenge_file.json_text import Path, whole_number
from models.rules.challenge_file.rule_shapes import SHAPES
from models.rules.operators import OPERATORS

_MAX_PATH = 12
"""Steps to a value in a rule that nests no deeper than is allowed; locations below are not worth keeping."""
_ESCAPE = re.compile(r"""\\(?:u([0-9A-Fa-f]{4})|(['"\\])|.)""")


class Misuse(Exception):  # noqa: N818 - becomes an ExpressionError where the whole text is known
    """What the grammar allows and a rule does not, at a position of the text."""

    def __init__(self, position: int, reason: str, expected: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.position = position
        self.reason = reason
        self.expected = expected


class Part(NamedTuple):
    """A value of the form, and the positions in the text of the values in it, by their paths from there."""

    value: Any
    positions: dict[Path, int]


class Entry(NamedTuple):
    """One key of a rule with its value."""

    key: str
    part: Part
    token: Token
    """Where it is said that this is the key."""


@v_args(inline=True)
class ToForm(Transformer[Token, Part]):
    """Makes a ``Part`` of every rule of the grammar."""

    def leaf(self, op: Token, event: Part, *rest: Any) -> Part:
        """An operator on events."""
        *entries, end, threshold = rest
        targets = [entry for entry in (*entries, threshold) if entry is not None and entry.key == "target"]
        for target in targets:
            _check_direction(op, target.token)
        if not targets:
            wanted = f"a threshold such as {OPERATORS[op].comparison} 10"
            raise Misuse(_start(end) + 1, f"expected {wanted}", (wanted,))
        return _rule(op, Entry("event", event, op), *entries, *([threshold] if threshold else []))

    def sequence(self, op: Token, events: Part, *entries: Entry) -> Part:
        """Events in an order."""
        return _rule(op, Entry("events", events, op), *entries)

    def group(self, op: Token, parts: Part, *entries: Entry) -> Part:
        """All or any of the parts."""
        return _rule(op, Entry("of", parts, op), *entries)

    def choice(self, op: Token, number: Part, parts: Part, *entries: Entry) -> Part:
        """Some of the parts."""
        return _rule(op, Entry("k", number, op), Entry("of", parts, op), *entries)

    def event(self, token: Token) -> Part:
        """An event type; also a goal id, a field, a literal or a number by itself."""
        return Part(_value(token), {(): _start(token)})

    goal = field = literal = number = event

    def events(self, *items: Part) -> Part:
        """A list; its location is its first item's."""
        return _nested(enumerate(items), [item.value for item in items], items[0].positions[()])

    parts = events

    def where(self, word: Token, *conditions: Part) -> Entry:
        """Conditions that must all hold."""
        values = [condition.value for condition in conditions]
        return Entry("where", _nested(enumerate(conditions), values, _start(word)), word)

    def condition(self, field: Part, *rest: Any) -> Part:
        """What a field must be."""
        tokens = [part for part in rest if isinstance(part, Token)]
        literals = [part for part in rest if isinstance(part, Part)]
        cmp = " ".join(tokens)
        value = self.events(*literals) if cmp.endswith("in") else literals[0]
        parts = {"field": field, "cmp": Part(cmp, {(): _start(tokens[0])}), "value": value}
        return _nested(parts.items(), {key: part.value for key, part in parts.items()}, field.positions[()])

    def per(self, word: Token, period: Token) -> Entry:
        """The period that counts for itself."""
        return Entry("per", self.event(period), word)

    def last(self, word: Token, duration: Token) -> Entry:
        """The length of a rolling window."""
        return Entry("last", self.event(duration), word)

    def threshold(self, comparison: Token, number: Token) -> Entry:
        """What must be reached."""
        return Entry("target", self.event(number), comparison)

    def option(self, key: Token, value: Token) -> Entry:
        """A setting by its name."""
        return Entry(str(key), self.event(value), key)


def _rule(op: Token, *entries: Entry) -> Part:
    form: dict[str, Any] = {"op": str(op)}
    parts: dict[str, Part] = {}
    for entry in entries:
        if entry.key in form:
            known = "threshold" if entry.key == "target" else entry.key
            raise Misuse(_start(entry.token), f"gives {known} a second time")
        form[entry.key] = entry.part.value
        # A key that the operator does not have is wrong itself, whatever its value.
        fits = entry.key in SHAPES[str(op)].model_fields
        parts[entry.key] = entry.part if fits else Part(None, {(): _start(entry.token)})
    return _nested(parts.items(), form, _start(op))


def _check_direction(op: Token, comparison: Token) -> None:
    wanted = OPERATORS[op].comparison
    if comparison != wanted:
        side = "below" if wanted == "<=" else "above"
        raise Misuse(
            _start(comparison), f"expected {wanted}, as {op} completes at or {side} its threshold", (f"'{wanted}'",)
        )


def _nested(parts: Iterable[tuple[str | int, Part]], value: Any, start: int) -> Part:
    positions = {
        (key, *path): position
        for key, part in parts
        for path, position in part.positions.items()
        if len(path) < _MAX_PATH
    }
    return Part(value, {(): start} | positions)


def _start(token: Token) -> int:
    return token.start_pos or 0


def _value(token: Token) -> Any:
    match token.type:
        case "NUMBER":
            return float(token) if re.search("[.eE]", token) else whole_number(token)
        case "STRING":
            return _ESCAPE.sub(lambda escape: _unescaped(escape, _start(token) + 1), token[1:-1])
        case "TRUE" | "FALSE" | "NULL":
            return {"TRUE": True, "FALSE": False, "NULL": None}[token.type]
        case _:
            return str(token)


def _unescaped(escape: re.Match[str], start: int) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    if escape[2]:
        return escape[2]
    raise Misuse(start + escape.start(), r"expected \', \", \\ or \u and four hexadecimal digits")
