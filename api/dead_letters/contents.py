"""The contents of a dead letter as JSON: times as ISO 8601, payloads as objects."""

from collections.abc import Callable
from datetime import UTC
from decimal import Decimal
from typing import Any

import orjson

from models.database.flush.refused_rows import ROW_KINDS, read_refused
from models.errors import MalformedBatchError, MalformedDeadLetterError
from models.events import unpack_unchecked
from models.rules.calendar import to_datetime

_JSON_FIELDS = frozenset({"payload", "attributes"})
_OPTIONAL_TIMES = frozenset({"completed_at", "reached_at"})
"""Times that are 0 where there is none."""
_FORMER_NAMES = {"record_version": "stamp", "version_states": "slots"}
"""What a field was called before: both names are shown, the former ones are deprecated."""


def contents_of(kind: str, raw: bytes) -> Any:
    """The events of a batch, or the refused row, as JSON values; None where the bytes are neither."""
    try:
        if kind == "batch":
            return [_fields(event) for event in unpack_unchecked(raw)]
        return _fields(read_refused(kind, raw)) if kind in ROW_KINDS else None
    except (MalformedBatchError, MalformedDeadLetterError, RecursionError):
        return None


def _fields(item: Any) -> dict[str, Any]:
    """A named tuple by its names, and so those within it."""
    shown = {name: _value(name, value) for name, value in item._asdict().items()}
    return shown | {former: shown[name] for name, former in _FORMER_NAMES.items() if name in shown}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _fields(value)
    if name in _JSON_FIELDS and isinstance(value, bytes):
        return _json(value)
    if name.endswith("_at") and type(value) is int:
        return None if name in _OPTIONAL_TIMES and not value else _time(value)
    return _plain(value)


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return text.decode(errors="replace")


def _time(microseconds: int) -> str | int:
    try:
        return to_datetime(microseconds).astimezone(UTC).isoformat()
    except OverflowError:
        return microseconds


def _plain(value: Any) -> Any:
    """Whatever a malformed dead letter may hold, in a form that JSON has."""
    kinds: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
        (bytes, lambda found: found.decode(errors="replace")),
        (Decimal, str),
        ((list, tuple), lambda found: [_plain(part) for part in found]),
        (dict, lambda found: {str(key): _plain(part) for key, part in found.items()}),
    )
    return next((convert(value) for kind, convert in kinds if isinstance(value, kind)), value)
