"""Values of a challenges file: ids, numbers, durations, timestamps, time zones.

They are pydantic field types for the shapes in ``shapes.py`` and ``rule_shapes.py``. The reason of a refusal is the
end of a sentence whose subject is the field.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from config.durations import parse_duration
from models.attributes import ATTRIBUTE_NAME
from models.events import MAX_EXACT
from models.exact import is_zone
from models.rules.calendar import microseconds, microseconds_of
from models.rules.forms.words import in_words
from models.rules.rule import USER_ZONE, Scalar

_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))
_MAX_ID = 256
_MAX_LENGTH = timedelta(days=3660)


class Strict(BaseModel):
    """A shape that converts nothing and lets no unknown key pass."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


def storable(text: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold."""
    for character in text:
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise ValueError(f"must not hold the character U+{ord(character):04X}")
    return text


def identifier(text: str) -> str:
    """An id by the rule that holds for ids in events, so that it can be matched and printed on one line."""
    if not 1 <= len(text) <= _MAX_ID:
        raise ValueError(f"must be 1 to {_MAX_ID} characters long, is {len(text)}")
    for character in text:
        if character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029":
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")
    return storable(text)


def exact_number(value: Any) -> int | float:
    """A number that a double holds exactly, or nearly: JSON's, not a boolean, within ±2**53. Whole ones become ints."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, is {in_words(value)}")  # noqa: TRY004 - pydantic collects ValueErrors
    if not isfinite(value):
        raise ValueError("must be a finite number")
    # A float of 2**53 may be what a parser left of 2**53 + 1; written as a whole number it is what it says.
    if abs(value) > MAX_EXACT or (abs(value) == MAX_EXACT and isinstance(value, float)):
        raise ValueError(f"must be at most 2**53 ({MAX_EXACT}), beyond which numbers are no longer exact")
    return int(value) if value == int(value) else value


def positive(value: Any) -> int | float:
    """An exact number above 0."""
    number = exact_number(value)
    if number <= 0:
        raise ValueError(f"must be greater than 0, is {value!r}")
    return number


def scalar(value: Any) -> Scalar:
    """Text, a number, a boolean or null, as a condition compares it; numbers that are whole become ints."""
    if isinstance(value, str):
        return storable(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return exact_number(value)
    raise ValueError(f"must be text, a number, a boolean or null, is {in_words(value)}")


@dataclass(frozen=True, eq=False)
class Checked:
    """Marks a field type with a check of our own, and with what JSON Schema can say about it."""

    check: Callable[[Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def whole(least: int, most: int = MAX_EXACT, why: str = "") -> Checked:
    """Marks a whole number from ``least`` to ``most``; ``why`` goes behind the limits in the reason."""
    limits = f"of at least {least}" if most == MAX_EXACT else f"from {least} to {most}"

    def check(value: Any) -> int:
        number = exact_number(value)
        if not isinstance(number, int) or not least <= number <= most:
            raise ValueError(f"must be a whole number {limits}{why}, is {value!r}")
        return number

    return Checked(check, {"type": "integer", "minimum": least, "maximum": most})


def _duration(value: Any) -> int:
    try:
        length = parse_duration(value)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"must be a duration such as 500ms, 36h or 7d, is {in_words(value)}") from error
    if length > _MAX_LENGTH:
        raise ValueError(f"must be at most {_MAX_LENGTH.days}d, is {in_words(value)}")
    return microseconds_of(length)


def _timestamp(value: Any) -> int:
    try:
        since = microseconds(datetime.fromisoformat(value))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"must be a date and time with an offset, such as 2026-12-01T00:00:00Z, is {in_words(value)}"
        ) from error
    if not 0 <= since <= MAX_EXACT:
        raise ValueError(f"must lie between 1970 and 2255, is {in_words(value)}")
    return since


def _time_zone(value: Any) -> str:
    if value != USER_ZONE and (not isinstance(value, str) or not is_zone(value)):
        raise ValueError(f"must be an IANA time zone such as Europe/Berlin, UTC, or user, is {in_words(value)}")
    return str(value)


def _attribute(name: str) -> str:
    if not re.fullmatch(ATTRIBUTE_NAME, name):
        raise ValueError(
            "an attribute's name is 1 to 64 of the characters A-Z a-z 0-9 _ . - and begins with a letter or _"
        )
    return name


def _segment(value: Any) -> tuple[Scalar, ...]:
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= 64:
        raise ValueError(f"must be one value or a list of 1 to 64, is a list of {len(values)}")
    made = tuple(scalar(one) for one in values)
    if None in made:
        raise ValueError("must be text, a number or a boolean, is null")
    return made


def duration_text(microseconds: int) -> str:
    """A duration as the challenges file writes it, in the largest unit that holds it in whole: ``7d``, ``36h``."""
    for unit, length in _UNITS:
        if not microseconds % length:
            return f"{microseconds // length}{unit}"
    whole, rest = divmod(microseconds, 1000)
    return f"{whole}.{rest:03d}ms" if rest else f"{whole}ms"


Id = Annotated[str, AfterValidator(identifier), Field(json_schema_extra={"minLength": 1, "maxLength": _MAX_ID})]
"""An id of a challenge or goal, or an event type."""
Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[Text, Field(min_length=1)]
Exact = Annotated[int | float, Checked(exact_number, {"type": "number", "minimum": -MAX_EXACT, "maximum": MAX_EXACT})]
"""A number that both engines hold exactly."""
Positive = Annotated[int | float, Checked(positive, {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_EXACT})]
Duration = Annotated[int, Checked(_duration, {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?(ms|s|m|h|d|w)\s*$"})]
"""Microseconds, written as ``7d``."""
Timestamp = Annotated[int, Checked(_timestamp, {"type": "string", "format": "date-time"})]
"""Microseconds since the epoch, written as ISO 8601 with an offset."""
Zone = Annotated[str, Checked(_time_zone, {"type": "string", "examples": ["UTC", "Europe/Berlin", USER_ZONE]})]
_PLAIN = {"type": ["string", "number", "boolean"]}
_ONE_OR_SEVERAL = {"anyOf": [_PLAIN, {"type": "array", "items": _PLAIN, "minItems": 1, "maxItems": 64}]}
Segments = Annotated[
    dict[
        Annotated[str, AfterValidator(_attribute)],
        Annotated[tuple[Any, ...], Checked(_segment, _ONE_OR_SEVERAL)],
    ],
    Field(min_length=1, max_length=16),
]
"""Attributes and the values of which a user must have one."""
