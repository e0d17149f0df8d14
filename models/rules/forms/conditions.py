"""The conditions of a rule in JSON: shape, and values that events can have."""

from collections import defaultdict
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from models.events import Event
from models.rules.fields import EventFields
from models.rules.forms.values import Strict, identifier, scalar
from models.rules.forms.words import in_words
from models.rules.rule import Comparison, Condition, Scalar

_NUMBERS = ("value", "increment")
_TEXTS = ("source", "event_id")
_MAX_VALUES = 100
_MAX_CONDITIONS = 16
_SCALAR = {"type": ["string", "number", "boolean", "null"]}


def payload_path(path: str) -> bool:
    """Whether it is a path into the payload, such as ``payload.course.id``."""
    return path.startswith("payload.") and all(path.split("."))


def _any_field(path: str) -> str:
    if path in (*_NUMBERS, *_TEXTS) or payload_path(path):
        return identifier(path)
    raise ValueError(f"must be value, increment, source, event_id or payload.<name>, is {in_words(path)}")


class ConditionShape(Strict):
    """What an event must say to count."""

    field: Annotated[
        str,
        AfterValidator(_any_field),
        Field(
            json_schema_extra={"pattern": r"^(value|increment|source|event_id|payload(\.[^.]+)+)$", "maxLength": 256}
        ),
    ]
    cmp: Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]
    value: Annotated[
        Any,
        WithJsonSchema(
            {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1, "maxItems": _MAX_VALUES}]}
        ),
    ]

    @field_validator("value")
    @classmethod
    def _comparable(cls, value: Any, info: ValidationInfo) -> Scalar | tuple[Scalar, ...]:
        cmp: Comparison | None = info.data.get("cmp")
        values = _several(value) if cmp in ("in", "not in") else [value]
        made = tuple(scalar(one) for one in values)
        for one in made:
            _check_kind(info.data.get("field"), cmp, one)
        return made if cmp in ("in", "not in") else made[0]

    def condition(self) -> Condition:
        """The frozen value that both engines read."""
        return Condition(self.field, self.cmp, self.value)


def _several(value: Any) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_VALUES:
        raise ValueError(f"must be a list of 1 to {_MAX_VALUES} values, is {in_words(value)}")
    return value


def _check_kind(field: str | None, cmp: str | None, value: Scalar) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if cmp in ("<", "<=", ">", ">=") and not is_number and not isinstance(value, str):
        raise ValueError(f"must be a number or text, which alone can be less or greater, is {in_words(value)}")
    if field in _NUMBERS and not is_number and value is not None:
        raise ValueError(f"must be a number as {field} is one, is {in_words(value)}")
    if field in _TEXTS and not isinstance(value, str) and value is not None:
        raise ValueError(f"must be text as {field} is, is {in_words(value)}")


def _can_hold(shapes: list[ConditionShape]) -> list[ConditionShape]:
    by_field: defaultdict[str, list[Condition]] = defaultdict(list)
    for shape in shapes:
        by_field[shape.field].append(shape.condition())
    for field, conditions in by_field.items():
        candidates = _candidates(conditions)
        if candidates is not None and not any(_meets(value, conditions) for value in candidates):
            said = " and ".join(f"{one.cmp} {in_words(_listed(one.value))}" for one in conditions)
            raise ValueError(f"can never hold: no {field} is {said}")
    return shapes


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _candidates(conditions: list[Condition]) -> list[Scalar] | None:
    """Values of which one must be met if any is; None where there are too many to say."""
    for condition in conditions:
        if condition.cmp in ("==", "in"):
            return list(condition.value) if isinstance(condition.value, tuple) else [condition.value]
    low: list[Any] = [one.value for one in conditions if one.cmp in (">", ">=")]
    high: list[Any] = [one.value for one in conditions if one.cmp in ("<", "<=")]
    if len({isinstance(value, str) for value in low + high}) > 1:
        return []
    if low and high and max(low) >= min(high):
        return [max(low)]
    return None


def _meets(value: Scalar, conditions: list[Condition]) -> bool:
    """What the engines would say of an event with this value."""
    event = Event("", "", "", "", 0, 0, payload=orjson.dumps({"it": value}))
    return EventFields(event).meet(Condition("payload.it", one.cmp, one.value) for one in conditions)


Where = Annotated[list[ConditionShape], Field(max_length=_MAX_CONDITIONS), AfterValidator(_can_hold)]
"""Conditions that must all hold."""
