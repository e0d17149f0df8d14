"""A rule in JSON, read into a ``Rule``.

Expressions come this way, too: ``language/transformer.py`` turns them into this form first, so that both forms mean
the same and are refused for the same reasons. The parts of a composite are read one level after the other, never deeper
than ``MAX_LEVELS``.
"""

from typing import Any

from pydantic import ValidationError

from models.rules.challenge_file.faults import Fault, did_you_mean, shape_reason
from models.rules.challenge_file.json_text import Path
from models.rules.challenge_file.rule_shapes import SHAPES
from models.rules.forms.bases import MAX_PARTS
from models.rules.forms.conditions import ConditionShape
from models.rules.forms.values import identifier
from models.rules.forms.words import in_words
from models.rules.operators import OPERATORS, make_rule
from models.rules.rule import Rule

MAX_LEVELS = 4
"""How deep rules may nest; a rule without parts is one level."""


class RuleError(ValueError):
    """A value that is no rule; ``faults`` says why, with the paths that lead there."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(f"{'.'.join(map(str, fault.path)) or 'rule'}: {fault.reason}" for fault in faults))
        self.faults = faults


def rule_of_json(value: Any) -> Rule:
    """Read a rule from its JSON form.

    Raises:
        RuleError: it is no rule; all faults at once.
    """
    faults: list[Fault] = []
    rule = _read(value, (), faults)
    if rule is None or faults:
        raise RuleError(faults)
    return rule


def _read(value: Any, path: Path, faults: list[Fault]) -> Rule | None:
    """The rule at a path; None, and more faults, where there is none."""
    if not isinstance(value, dict):
        faults.append(Fault(path, f"must be an object, is {in_words(value)}"))
        return None
    op = value.get("op")
    if not isinstance(op, str) or op not in SHAPES:
        faults.append(Fault((*path, "op"), _no_operator(value)))
        return None
    shape = SHAPES[op]
    before = len(faults)
    parts = _read_parts(value, path, faults) if OPERATORS[op].is_composite else ()
    try:
        read = shape.model_validate(value)
        return _rule(read, parts) if len(faults) == before else None
    except ValidationError as error:
        known = list(shape.model_fields)
        faults += [
            Fault((*path, *fault["loc"]), _reason(op, fault, known)) for fault in error.errors(include_url=False)
        ]
        return None


def _no_operator(value: dict[str, Any]) -> str:
    if "op" not in value:
        return "is missing"
    op, (*first, last) = value["op"], SHAPES
    return f"must be {', '.join(first)} or {last}, is {in_words(op)}{did_you_mean(op, SHAPES)}"


def _reason(op: str, fault: Any, known: list[str]) -> str:
    unknown = fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1
    if unknown and any(fault["loc"][0] in shape.model_fields for shape in SHAPES.values()):
        return f"does not go with {op}"
    if fault["loc"][:1] == ("where",) and len(fault["loc"]) > 1:
        known = list(ConditionShape.model_fields)
    return shape_reason(fault, known)


def _read_parts(value: dict[str, Any], path: Path, faults: list[Fault]) -> tuple[Rule | str, ...]:
    """The parts of a composite, as far as they can be read."""
    of = value.get("of")
    if not isinstance(of, list) or len(of) > MAX_PARTS:
        return ()  # the composite's own shape says so
    nested = [index for index, part in enumerate(of) if isinstance(part, dict)]
    if nested and path.count("of") == MAX_LEVELS - 1:
        faults.append(Fault((*path, "of", nested[0]), f"is nested deeper than {MAX_LEVELS} levels of rules"))
        return ()
    parts = [_read_part(part, (*path, "of", index), faults) for index, part in enumerate(of)]
    return tuple(part for part in parts if part is not None)


def _read_part(part: Any, path: Path, faults: list[Fault]) -> Rule | str | None:
    if not isinstance(part, str):
        if isinstance(part, dict) and part.get("per") is not None:
            faults.append(Fault((*path, "per"), "does not go with a part: make it a goal of its own and name that"))
        return _read(part, path, faults)
    try:
        return identifier(part)
    except ValueError as error:
        faults.append(Fault(path, str(error)))
        return None


def _rule(shape: Any, parts: tuple[Rule | str, ...]) -> Rule:
    """The rule that a checked shape stands for."""
    said = {name: getattr(shape, name) for name in type(shape).model_fields if name not in ("event", "k", "of")}
    said["where"] = tuple(condition.condition() for condition in said.get("where", ()))
    events = tuple(said.pop("events", ())) or ((shape.event,) if hasattr(shape, "event") else ())
    said["target"] = OPERATORS[shape.op].target_of(shape)
    return make_rule(**said, events=events, of=parts)
