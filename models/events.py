"""The event, in the one form in which it is journaled, queued and logged.

A batch is packed once, by the receiver, and the same bytes serve the journal, the Celery message and the event log.
Times are integers in microseconds since the epoch, which Lua's doubles hold exactly until the year 2255.
"""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import NamedTuple

import msgpack

from models.errors import MalformedBatchError

MAX_EXACT = 2**53
"""The largest magnitude that a double, and so Lua and JSON readers, hold exactly."""
MAX_TEXT_BYTES = 1024
"""Of an id or a name: 256 characters of UTF-8. PostgreSQL has no index for much longer ones."""
EARLIEST = 86_400_000_000
"""The earliest time (µs) at which an event may happen: no time zone brings that to a day before the epoch."""


_MARGIN = timedelta(days=1)


def remembered_for(window: timedelta) -> timedelta:
    """How long an id is known after its event was applied, where events are taken up to ``window`` old.

    A day longer: a sender's clock may be ahead, and what was taken last waits for its worker.
    """
    return window + _MARGIN


class Event(NamedTuple):
    """One accepted event. Its identity is (tenant_id, user_id, event_id)."""

    event_id: str
    event_type: str
    """What goals match on: ``login``, ``statistic:<statCode>``, or the sender's own type."""
    tenant_id: str
    user_id: str
    occurred_at: int
    accepted_at: int
    value: float | None = None
    increment: float | None = None
    """How far a statistic moved, where the sender says so beside its new value."""
    source: str | None = None
    """The system that sent the event."""
    payload: bytes = b""
    """The payload object as JSON text; empty where there is none."""
    timezone: str | None = None
    """The IANA name of the time zone the user was in, where the sender or the user's attributes say so."""
    attributes: bytes = b""
    """The user's attributes that rules ask for, as JSON text, as they stood when the event was applied."""


def pack_batch(events: Sequence[Event]) -> bytes:
    """The bytes of a batch, read back by ``unpack_batch``."""
    packed: bytes = msgpack.packb(events)
    return packed


def unpack_batch(packed: bytes) -> list[Event]:
    """Read the events of a batch, at least one; fields added by a newer receiver are ignored.

    Raises:
        MalformedBatchError: the bytes are not a batch, or a field of an event is not what receivers of ours pack.
    """
    events = _read(packed, max_str_len=MAX_TEXT_BYTES)
    try:
        _check(events)
    except (ValueError, TypeError) as error:
        raise MalformedBatchError(f"not a batch of events: {error}") from error
    return events


def unpack_unchecked(packed: bytes) -> list[Event]:
    """Read what was checked before, maybe by a release that checked less, or what is checked event by event.

    Raises:
        MalformedBatchError: the bytes are not a batch.
    """
    return _read(packed)


def _read(packed: bytes, **limits: int) -> list[Event]:
    width = len(Event._fields)
    try:
        rows = msgpack.unpackb(packed, **limits)
        if type(rows) is not list or not {list}.issuperset(map(type, rows)):
            raise MalformedBatchError("not a batch of events: it is not a list of lists")
        return [Event._make(row) if len(row) == width else Event(*row[:width]) for row in rows]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedBatchError(f"not a batch of events: {error}") from error


def _check(events: Sequence[Event]) -> None:
    """Raise TypeError or ValueError at a value that is not of its field.

    By columns, and by what fails in C at a value of another type: row by row it would cost more than the unpacking.
    """
    ids, types, tenants, users, occurred, accepted, values, increments, sources, payloads, zones, attributes = zip(
        *events, strict=True
    )
    for names in (ids, types, tenants, users, {*sources, *zones} - {None}):
        "".join(names)
    for texts in (payloads, attributes):
        b"".join(texts)
    for times, earliest in ((occurred, EARLIEST), (accepted, 0)):
        if type(sum(times)) is not int or min(times) < earliest or max(times) > MAX_EXACT:
            raise ValueError("a time is no count of microseconds")
    # Infinities and NaN are not within either: a progress of them could never be written.
    if not all(-MAX_EXACT <= number <= MAX_EXACT for number in {*values, *increments} - {None}):
        raise ValueError("a number is out of bounds")


def identity_hash(event_id: str) -> str:
    """63 bits of the event id as decimal text: the form a Redis intset keeps in 8 bytes.

    Within one user's window of n events two ids collide with a chance of about n²/2⁶⁴.
    """
    digest = blake2b(event_id.encode(), digest_size=8).digest()
    return str(int.from_bytes(digest, "big") >> 1)
