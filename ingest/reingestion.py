"""Re-ingestion: events of dead letters, checked like new ones, taken as they were.

They come out of dead letters, so nothing is known of them but that they were packed. The window of time is that of
new events: an event older than that may have been applied, and its id forgotten, so that it would count twice.
"""

from typing import Any

import orjson
from pydantic_core import PydanticCustomError

from ingest.schema import read_number
from ingest.validation import Fault, Window, item_fault, time_fault
from models.attributes import read_attributes
from models.declarations.error_codes import EventCode
from models.errors import InvalidAttributesError
from models.events import Event

_REQUIRED = ("event_id", "event_type", "tenant_id", "user_id")
_OPTIONAL = ("source", "timezone")
_PACKED: dict[str, tuple[type, str]] = {
    "occurred_at": (int, "a whole number of microseconds"),
    "accepted_at": (int, "a whole number of microseconds"),
    "tenant_id": (str, "a text"),  # a sender may leave it out
    "payload": (bytes, "bytes"),
    "attributes": (bytes, "bytes"),
}
"""What must be so before an event is read as a sender would write it."""


def event_fault(event: Event, window: Window) -> Fault | None:
    """Why an event is not taken again; None where it is."""
    return _unreadable(event) or item_fault(_as_item(event)) or _beside(event) or time_fault(event.occurred_at, window)


def _unreadable(event: Event) -> Fault | None:
    """A fault of the parts that a sender does not write in this form."""
    for name, (kind, words) in _PACKED.items():
        if type(getattr(event, name)) is not kind:
            return Fault(EventCode.WRONG_TYPE, name, f"must be {words}")
    try:
        orjson.loads(event.payload or b"{}")
    except orjson.JSONDecodeError:
        return Fault(EventCode.WRONG_TYPE, "payload", "must be JSON")
    return None


def _as_item(event: Event) -> dict[str, Any]:
    """The event as a sender would write it, without its time."""
    item: dict[str, Any] = {name: getattr(event, name) for name in _REQUIRED}
    item |= {name: getattr(event, name) for name in _OPTIONAL if getattr(event, name) is not None}
    if event.value is not None:
        item["value"] = _as_written(event.value)
    if event.payload:
        item["payload"] = orjson.loads(event.payload)
    return item


def _beside(event: Event) -> Fault | None:
    """A fault of what senders of plain events cannot write."""
    if event.increment is not None:
        try:
            read_number(_as_written(event.increment))
        except PydanticCustomError as error:
            return Fault(error.type, "increment", error.message())
    if event.attributes:
        try:
            read_attributes(event.attributes)
        except InvalidAttributesError as error:
            return Fault(EventCode.WRONG_TYPE, "attributes", str(error))
    return None


def _as_written(number: Any) -> Any:
    """A sender writes 2^53 itself as an integer; as a float it may be what was left of a larger one."""
    return int(number) if type(number) is float and number.is_integer() else number
