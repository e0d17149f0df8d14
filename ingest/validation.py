"""One event given, one accepted or one fault back; the clock is passed in and nothing is remembered.

The codes of a refusal are stable:

| code | what is wrong with the field |
|---|---|
| ``not_an_object`` | the event is not a JSON object (field ``$``) |
| ``unknown_field`` | an event has no such field |
| ``missing_field`` | it is required |
| ``wrong_type`` | it is of another JSON type |
| ``empty`` | it holds no character |
| ``too_long`` | it holds more characters than allowed |
| ``unprintable`` | it holds a control character or a line separator; in a payload: NUL |
| ``invalid_tenant`` | it is not 1 to 64 of the characters ``A-Z a-z 0-9 . _ -`` |
| ``invalid_time`` | it is not an ISO 8601 date and time with an offset |
| ``in_future`` | it is more than 5 minutes ahead of the receiver's clock |
| ``too_old`` | it is older than ``MAX_LATENESS`` |
| ``unknown_timezone`` | it is not the name of an IANA time zone, such as ``Europe/Berlin`` |
| ``number_too_large`` | it is, or holds, a number that is not finite or lies beyond 2^53 |
| ``payload_too_large`` | it is more than 16 KiB of JSON text |
| ``payload_too_deep`` | it nests deeper than 32 levels |
| ``namespace_mismatch`` | AccelByte events: it is not the namespace of the topic |
"""

from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ingest.schema import EventIn
from models.events import Event

MAX_AHEAD = timedelta(minutes=5)
"""How far a sender's clock may run ahead of ours."""
WHOLE_EVENT = "$"
"""The field of a fault that lies in the event as a whole."""

_MICROSECOND = timedelta(microseconds=1)
_NAME_SHOWN = 64

# pydantic's own kinds of error; every other kind comes from ingest.schema and is a code already.
_PYDANTIC: dict[str, tuple[str, str]] = {
    "model_type": ("not_an_object", "must be a JSON object"),
    "extra_forbidden": ("unknown_field", "is not a field of an event"),
    "missing": ("missing_field", "is required"),
    "string_type": ("wrong_type", "must be a string"),
    "string_unicode": ("unprintable", "must be valid Unicode"),
    "string_too_short": ("empty", "must not be empty"),
    "string_too_long": ("too_long", "must not be longer than 256 characters"),
    "string_pattern_mismatch": ("unprintable", "must not hold control characters or line separators"),
}
_TENANT = ("invalid_tenant", "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -")

_read = TypeAdapter(EventIn).validate_python


class Fault(NamedTuple):
    """Why an event is refused: a code of the table above, the field, and the reason as its predicate."""

    code: str
    field: str
    reason: str

    @property
    def message(self) -> str:
        """One sentence that names the field and the reason."""
        return f"{'the event' if self.field == WHOLE_EVENT else self.field} {self.reason}"


class Window(NamedTuple):
    """The moments an event may have happened at, in microseconds since the epoch, as seen at ``now``."""

    now: int
    oldest: int
    newest: int
    lateness: timedelta


def window_at(now: int, max_lateness: timedelta) -> Window:
    """The window around ``now``, which is in microseconds since the epoch."""
    return Window(now, now - max_lateness // _MICROSECOND, now + MAX_AHEAD // _MICROSECOND, max_lateness)


def read_event(item: Any, window: Window) -> Event | Fault:
    """Validate one parsed event. A time it does not give is ``window.now``."""
    try:
        given = _read(item)
    except ValidationError as error:
        return _first_fault(error)
    occurred_at = window.now if given.occurred_at is None else given.occurred_at
    if fault := time_fault(occurred_at, window):
        return fault
    return Event(
        given.event_id,
        given.event_type,
        given.tenant_id,
        given.user_id,
        occurred_at,
        window.now,
        given.value,
        None,
        given.source,
        given.payload or b"",
        given.timezone,
    )


def time_fault(occurred_at: int, window: Window) -> Fault | None:
    """Why an event of this time is refused; None where it is not."""
    if occurred_at > window.newest:
        return Fault("in_future", "occurred_at", "is more than 5 minutes ahead of the receiver's clock")
    if occurred_at < window.oldest:
        return Fault("too_old", "occurred_at", f"is older than the accepted lateness of {_spell(window.lateness)}")
    return None


def item_fault(item: Any) -> Fault | None:
    """What is wrong with a parsed event, whenever it happened; None where nothing is."""
    try:
        _read(item)
    except ValidationError as error:
        return _first_fault(error)
    return None


def _first_fault(error: ValidationError) -> Fault:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = str(first["loc"][0])[:_NAME_SHOWN] if first["loc"] else WHOLE_EVENT
    if field == "tenant_id" and first["type"] == "string_pattern_mismatch":
        return Fault(_TENANT[0], field, _TENANT[1])
    code, reason = _PYDANTIC.get(first["type"], (first["type"], first["msg"]))
    return Fault(code, field, reason)


def _spell(length: timedelta) -> str:
    return (
        f"{length.days}d" if length >= timedelta(days=1) and length % timedelta(days=1) == timedelta(0) else str(length)
    )
