"""The event as senders write it, for validation and OpenAPI.

Parsed JSON becomes an ``EventIn`` whose time is already a number and whose payload is text
again. It knows neither the clock nor the transport. Codes that are raised here are listed in
``ingest.validation``.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from models.declarations.error_codes import EventCode
from models.events import MAX_EXACT
from models.exact import PRINTABLE, is_exact, is_zone

MAX_PAYLOAD_BYTES = 16 * 1024
"""The size of a payload, counted as compact UTF-8 JSON, which is the form it is kept in."""
MAX_PAYLOAD_DEPTH = 32
"""How deep a payload nests; the payload object itself is level 1."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# datetime.fromisoformat also reads dates alone, any separator and seconds in the offset, which ISO 8601 does not, and
# weeks, which RFC 3339 does not.
_ISO_TIMESTAMP = re.compile(
    r"[0-9]{4}(?:-[0-9]{2}-[0-9]{2}|[0-9]{4})[Tt ][0-9:.,]+(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
)


def refusal(code: EventCode, reason: str) -> PydanticCustomError:
    """What a validator raises; the reason is a predicate, such as "must be a number"."""
    return PydanticCustomError(code.value, reason)


def read_timestamp(value: Any) -> int:
    """An ISO 8601 date and time with its offset, as microseconds since the epoch; finer digits are dropped.

    Raises:
        PydanticCustomError: the value is no such text.
    """
    if type(value) is not str:
        raise refusal(EventCode.WRONG_TYPE, "must be an ISO 8601 string")
    # The slice bounds the work on a text of any length.
    if _ISO_TIMESTAMP.fullmatch(value[:64]):
        try:
            return (datetime.fromisoformat(value.upper()) - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            pass
    raise refusal(
        EventCode.INVALID_TIME, "must be an ISO 8601 date and time with an offset, such as 2025-11-10T10:30:00Z"
    )


def read_number(value: Any) -> float:
    """A number that a double holds exactly.

    Raises:
        PydanticCustomError: it is no number, is not finite, or lies beyond 2^53.
    """
    if not is_exact(value):
        if type(value) is not int and type(value) is not float:
            raise refusal(EventCode.WRONG_TYPE, "must be a number")
        raise refusal(EventCode.NUMBER_TOO_LARGE, "must lie within -2^53 and 2^53")
    return float(value)


def read_zone(value: Any) -> str:
    """The name of an IANA time zone.

    Raises:
        PydanticCustomError: it is no such name.
    """
    if type(value) is not str:
        raise refusal(EventCode.WRONG_TYPE, "must be a string")
    if not is_zone(value):
        raise refusal(EventCode.UNKNOWN_TIMEZONE, "must be an IANA time zone name, such as Europe/Berlin")
    return value


def pack_payload(value: Any) -> bytes:
    """The payload object as compact JSON text.

    Raises:
        PydanticCustomError: it is no object, or is too large, too deep, or holds what PostgreSQL cannot keep.
    """
    if type(value) is not dict:
        raise refusal(EventCode.WRONG_TYPE, "must be an object")
    _inspect(value)
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise refusal(EventCode.UNPRINTABLE, "must be valid Unicode") from error
    if len(text) > MAX_PAYLOAD_BYTES:
        raise refusal(EventCode.PAYLOAD_TOO_LARGE, "must not be larger than 16 KiB of JSON text")
    return text


def _inspect(payload: dict[str, Any]) -> None:
    """Walk a payload level by level, so that no depth of nesting can exhaust the stack."""
    level: list[Any] = [payload]
    for _ in range(MAX_PAYLOAD_DEPTH):
        level = _next_level(level)
        if not level:
            return
    raise refusal(EventCode.PAYLOAD_TOO_DEEP, "must not nest deeper than 32 levels")


def _next_level(containers: list[Any]) -> list[Any]:
    deeper: list[Any] = []
    for container in containers:
        children = container
        if type(container) is dict:
            children = container.values()
            for key in container:
                _refuse_nul(key)
        for child in children:
            kind = type(child)
            if kind is str:
                _refuse_nul(child)
            elif kind is dict or kind is list:
                deeper.append(child)
            elif (kind is int or kind is float) and not is_exact(child):
                raise refusal(EventCode.NUMBER_TOO_LARGE, "must not hold a number beyond 2^53")
    return deeper


def _refuse_nul(text: str) -> None:
    if "\0" in text:
        raise refusal(EventCode.UNPRINTABLE, "must not hold the character NUL, which PostgreSQL cannot store")


Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=PRINTABLE)]
TenantId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Source = Annotated[str, StringConstraints(max_length=256, pattern=PRINTABLE)]
Timestamp = Annotated[int, PlainValidator(read_timestamp), WithJsonSchema({"type": "string", "format": "date-time"})]
TimeZone = Annotated[str, PlainValidator(read_zone), WithJsonSchema({"type": "string"})]
Number = Annotated[
    float,
    PlainValidator(read_number),
    WithJsonSchema({"type": "number", "minimum": -MAX_EXACT, "maximum": MAX_EXACT}),
]
Payload = Annotated[
    bytes, PlainValidator(pack_payload), WithJsonSchema({"type": "object", "additionalProperties": True})
]


class EventIn(BaseModel):
    """One event. Its identity is (tenant_id, user_id, event_id): sent again, it counts once."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        title="Event",
        json_schema_extra={
            "example": {
                "event_id": "evt-1",
                "event_type": "lesson_finished",
                "user_id": "ada",
                "tenant_id": "default",
                "occurred_at": "2025-11-10T10:30:00Z",
                "timezone": "Europe/Berlin",
                "source": "app",
                "value": 1,
                "payload": {"course": "algebra"},
            }
        },
    )

    event_id: Identifier = Field(description="The sender's own id of this event; any printable Unicode.")
    event_type: Identifier = Field(description="What goals match on, such as login or statistic:match_wins.")
    user_id: Identifier = Field(description="Whose progress the event moves; any printable Unicode.")
    tenant_id: TenantId | None = Field(
        default=None,
        description="The customer or namespace the user belongs to. Without it: that of the key, or `default`.",
    )
    occurred_at: Timestamp | None = Field(
        default=None,
        description="When it happened, to the microsecond: ISO 8601 with an offset. Without it: on arrival.",
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="The time zone the user was in, for goals that go by the user's days: an IANA name. Without it: "
        "the user's attribute timezone, else UTC.",
    )
    source: Source | None = Field(default=None, description="The system that sent the event.")
    value: Number | None = Field(
        default=None,
        description="A finite number within 2^53, both ends included; 2^53 itself is written as an integer.",
    )
    payload: Payload | None = Field(
        default=None,
        description="Anything else: up to 16 KiB of JSON, 32 levels, numbers within 2^53, no NUL character.",
    )
