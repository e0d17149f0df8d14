"""A rule as text: its JSON form and its expression, which read back alike.

One thing has no spelling in either: that goals of the simple type ``daily`` stop counting at their target.
"""

import re
from typing import Any

from models.rules.forms.values import duration_text
from models.rules.rule import Condition, Rule, Scalar

_CLAUSES = ("per", "last")
_SPOKEN = frozenset({"op", "event", "events", "of", "k", "target", "where", *_CLAUSES})
"""Keys that stand in an expression without their names, or as words of it."""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
_ZONE = re.compile(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+)+")


def json_of(rule: Rule) -> dict[str, Any]:
    """The rule as a JSON object; what is as it is by default is left out."""
    form: dict[str, Any] = {"op": rule.op}
    if rule.is_composite:
        form |= rule.options() | {"of": [json_of(part) if isinstance(part, Rule) else part for part in rule.of]}
    elif rule.terminal == "SEQUENCE":
        form |= {"events": list(rule.events)} | rule.options()
    else:
        form |= {"event": rule.events[0], "field": rule.field, "unit": rule.unit, "target": _number(rule.target)}
        form |= rule.options()
    form |= {
        "where": [_condition(condition) for condition in rule.where] or None,
        "per": rule.per,
        "within": rule.within and duration_text(rule.within),
        "timezone": rule.timezone if rule.timezone != "UTC" else None,
    }
    return {key: value for key, value in form.items() if value is not None}


def expression_of(rule: Rule) -> str:
    """The rule as an expression on one line, such as ``count(lesson.completed per week) >= 10``."""
    form = json_of(rule)
    if rule.is_composite:
        parts = ", ".join(expression_of(part) if isinstance(part, Rule) else _name(part) for part in rule.of)
        subject = f"{form['k']}, [{parts}]" if rule.terminal == "AT_LEAST" else f"[{parts}]"
    elif rule.terminal == "SEQUENCE":
        subject = f"[{', '.join(map(_name, rule.events))}]"
    else:
        subject = _name(rule.events[0])
    if rule.where:
        subject += f" where {' and '.join(map(_said, rule.where))}"
    subject += "".join(f" {key} {form[key]}" for key in _CLAUSES if key in form)
    options = [key for key in form if key not in _SPOKEN]
    arguments = ", ".join([subject, *(f"{key}={_option(form[key])}" for key in options)])
    threshold = f" {rule.comparison} {form['target']}" if "target" in form else ""
    return f"{rule.op}({arguments}){threshold}"


def _condition(condition: Condition) -> dict[str, Any]:
    value = condition.value
    listed = [_scalar(one) for one in value] if isinstance(value, tuple) else _scalar(value)
    return {"field": condition.field, "cmp": condition.cmp, "value": listed}


def _said(condition: Condition) -> str:
    value = condition.value
    listed = f"[{', '.join(map(_literal, value))}]" if isinstance(value, tuple) else _literal(value)
    return f"{_name(condition.field)} {condition.cmp} {listed}"


def _literal(value: Scalar) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(_number(value))


def _option(value: Any) -> str:
    if isinstance(value, str) and not _ZONE.fullmatch(value) and not value[:1].isdigit():
        return _name(value)
    return str(value)


def _name(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Text in quotes; what cannot be seen, and is no astral character, by its code."""
    return "'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    return character if character.isprintable() or ord(character) > 0xFFFF else f"\\u{ord(character):04x}"


def _scalar(value: Scalar) -> Scalar:
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value
