"""A rule as text: its JSON form and its expression, which read back alike.

One thing has no spelling in either: that goals of the simple type ``daily`` stop counting at their target.
"""

import re
from typing import Any

from models.rules.rule import COMPOSITES, Condition, Rule, Scalar

_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
_ZONE = re.compile(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+)+")


def json_of(rule: Rule) -> dict[str, Any]:
    """The rule as a JSON object; what is as it is by default is left out."""
    form: dict[str, Any] = {"op": rule.op}
    if rule.op == "at_least":
        form["k"] = _number(rule.target)
    if rule.op in COMPOSITES:
        form["of"] = [json_of(part) if isinstance(part, Rule) else part for part in rule.of]
    elif rule.op == "sequence":
        form["events"] = list(rule.events)
    else:
        options = {"field": rule.field, "unit": rule.unit} if rule.op != "count" else {}
        form |= {"event": rule.events[0]} | options | {"target": _number(rule.target), "grace": rule.grace or None}
    form |= {
        "where": [_condition(condition) for condition in rule.where] or None,
        "per": rule.per,
        "last": rule.last and duration_text(rule.last),
        "within": rule.within and duration_text(rule.within),
        "timezone": rule.timezone if rule.timezone != "UTC" else None,
    }
    return {key: value for key, value in form.items() if value is not None}


def expression_of(rule: Rule) -> str:
    """The rule as an expression on one line, such as ``count(lesson.completed per week) >= 10``."""
    form = json_of(rule)
    if rule.op in COMPOSITES:
        parts = ", ".join(expression_of(part) if isinstance(part, Rule) else _name(part) for part in rule.of)
        subject = f"{form['k']}, [{parts}]" if rule.op == "at_least" else f"[{parts}]"
    elif rule.op == "sequence":
        subject = f"[{', '.join(map(_name, rule.events))}]"
    else:
        subject = _name(rule.events[0])
    if rule.where:
        subject += f" where {' and '.join(map(_said, rule.where))}"
    subject += "".join(f" {key} {form[key]}" for key in ("per", "last") if key in form)
    options = [key for key in ("field", "unit", "grace", "within", "timezone") if key in form]
    arguments = ", ".join([subject, *(f"{key}={_option(form[key])}" for key in options)])
    threshold = f" {'<=' if rule.op == 'min' else '>='} {form['target']}" if "target" in form else ""
    return f"{rule.op}({arguments}){threshold}"


def duration_text(microseconds: int) -> str:
    """A duration as the challenges file writes it, in the largest unit that holds it in whole: ``7d``, ``36h``."""
    for unit, length in _UNITS:
        if not microseconds % length:
            return f"{microseconds // length}{unit}"
    whole, rest = divmod(microseconds, 1000)
    return f"{whole}.{rest:03d}ms" if rest else f"{whole}ms"


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
