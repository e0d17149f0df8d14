"""Validates one event: the accepted event, or its faults."""

import re
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from ingest.schema import EventIn, read_timestamp
from models.declarations.error_codes import EventCode
from models.events import Event

MAX_AHEAD = timedelta(minutes=5)
"""How far a sender's clock may run ahead of ours."""
WHOLE_EVENT = "$"
"""The field of a fault that lies in the event as a whole."""

_MICROSECOND = timedelta(microseconds=1)
_NAME_SHOWN = 64
MAX_FAULTS = 10
"""How many faults of one event are told."""
DEFAULT_TENANT = "default"

# pydantic's own kinds of error; every other kind comes from ingest.schema and is a code already.
_PYDANTIC: dict[str, tuple[str, str]] = {
    "model_type": (EventCode.NOT_AN_OBJECT, "must be a JSON object"),
    "extra_forbidden": (EventCode.UNKNOWN_FIELD, "is not a field of an event"),
    "missing": (EventCode.MISSING_FIELD, "is required"),
    "string_type": (EventCode.WRONG_TYPE, "must be a string"),
    "string_unicode": (EventCode.UNPRINTABLE, "must be valid Unicode"),
    "string_too_short": (EventCode.EMPTY, "must not be empty"),
    "string_too_long": (EventCode.TOO_LONG, "must not be longer than 256 characters"),
    "string_pattern_mismatch": (EventCode.UNPRINTABLE, "must not hold control characters or line separators"),
}
_WRAPPERS = frozenset({"events", "event", "batch", "data", "items", "records"})
_LETTERS = re.compile(r"[^a-z]")
_MEANT = {_LETTERS.sub("", name): name for name in EventIn.model_fields} | {
    **dict.fromkeys(("id", "uuid", "messageid"), "event_id"),
    **dict.fromkeys(("type", "name", "event", "eventname"), "event_type"),
    **dict.fromkeys(("user", "uid", "distinctid"), "user_id"),
    **dict.fromkeys(("tenant", "namespace"), "tenant_id"),
    **dict.fromkeys(("timestamp", "time", "ts", "occurred", "date"), "occurred_at"),
    **dict.fromkeys(("tz", "zone"), "timezone"),
    **dict.fromkeys(("data", "properties", "params", "context"), "payload"),
}
"""Field names as other systems write them."""
_TENANT = (EventCode.INVALID_TENANT, "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -")

_read = TypeAdapter(EventIn).validate_python


class Fault(NamedTuple):
    """Why an event is refused: a code, the field, and the reason as its predicate."""

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


def read_event(item: Any, window: Window) -> Event | list[Fault]:
    """Validate one parsed event; else all that is wrong with it, up to ``MAX_FAULTS``.

    A time it does not give is ``window.now``.
    """
    try:
        given = _read(item)
    except ValidationError as error:
        return _faults(error, item, window)
    occurred_at = window.now if given.occurred_at is None else given.occurred_at
    if fault := time_fault(occurred_at, window):
        return [fault]
    return Event(
        given.event_id,
        given.event_type,
        given.tenant_id or DEFAULT_TENANT,
        given.user_id,
        occurred_at,
        window.now,
        given.value,
        None,
        given.source,
        given.payload or b"",
        given.timezone,
    )


class EventReader:
    """Reads events as senders write them."""

    id_field = "event_id"

    def read(self, item: Any, window: Window) -> Event | list[Fault]:
        """See ``read_event``."""
        return read_event(item, window)


EVENTS_AS_SENT = EventReader()


def time_fault(occurred_at: int, window: Window) -> Fault | None:
    """Why an event of this time is refused; None where it is not."""
    if occurred_at > window.newest:
        return Fault(EventCode.IN_FUTURE, "occurred_at", "is more than 5 minutes ahead of the receiver's clock")
    if occurred_at < window.oldest:
        return Fault(
            EventCode.TOO_OLD, "occurred_at", f"is older than the accepted lateness of {_spell(window.lateness)}"
        )
    return None


def item_fault(item: Any) -> Fault | None:
    """What is wrong with a parsed event, whenever it happened; None where nothing is."""
    try:
        _read(item)
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        return _fault(first, item)
    return None


def _faults(error: ValidationError, item: Any, window: Window) -> list[Fault]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    faults = [_fault(one, item) for one in found[:MAX_FAULTS]]
    if type(item) is dict and "occurred_at" in item and all(fault.field != "occurred_at" for fault in faults):
        with suppress(PydanticCustomError):  # it is null
            late = time_fault(read_timestamp(item["occurred_at"]), window)
            faults += [late] if late else []
    return faults


def _fault(one: ErrorDetails, item: Any) -> Fault:
    field = _shown(str(one["loc"][0])) if one["loc"] else WHOLE_EVENT
    if field == "tenant_id" and one["type"] == "string_pattern_mismatch":
        return Fault(_TENANT[0], field, _TENANT[1])
    if field == WHOLE_EVENT and one["type"] == "string_unicode":
        return Fault(EventCode.UNPRINTABLE, field, "has a field whose name is not valid Unicode")
    code, reason = _PYDANTIC.get(one["type"], (one["type"], one["msg"]))
    if one["type"] == "extra_forbidden":
        reason += _hint(str(one["loc"][0]), item)
    return Fault(code, field, reason)


def _shown(name: str) -> str:
    """A name as it can be answered: not too long, and halves of surrogate pairs spelled."""
    return name[:_NAME_SHOWN].encode(errors="backslashreplace").decode()


def _hint(name: str, item: Any) -> str:
    """What a sender may have meant by a field that there is not."""
    if name in _WRAPPERS and type(item.get(name)) is list:
        return ": send the events themselves, as a JSON array"
    meant = _MEANT.get(_LETTERS.sub("", name[:_NAME_SHOWN].lower()))
    return f": write {meant}" if meant else ""


def _spell(length: timedelta) -> str:
    return (
        f"{length.days}d" if length >= timedelta(days=1) and length % timedelta(days=1) == timedelta(0) else str(length)
    )
