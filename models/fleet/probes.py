"""The probe: an event of our own that proves the whole way (promise P15).

It takes the way of every event, from the journal to a transaction of PostgreSQL, and is told from all others by its
tenant, which no caller can name. It moves no goal, for no rule can name its type. PostgreSQL keeps the newest one of
each shard in a table of its own, and nothing else of it: no event, no row, no evaluation, no dead letter.
"""

from enum import StrEnum
from functools import cache
from itertools import count
from typing import NamedTuple

from config.shards import shard_for
from models.events import Event
from models.wire import Text

PROBE_TENANT = Text.PROBE_TENANT
_EVENT_TYPE = "\x1fprobe"  # a control character is in no event type, of a caller or of a rule
_PAYLOAD = b'{"probe":true}'


class Station(StrEnum):
    """Where a probe passes, in order."""

    JOURNAL = "journal"
    """The receiver writes it to the state Redis."""
    BROKER = "broker"
    """The receiver sends a message for it."""
    WORKER = "worker"
    """A worker takes it out of the journal."""
    APPLY = "apply"
    """The worker evaluates it: rules, the user's record, the script."""
    FLUSH = "flush"
    """The maintenance worker writes it to PostgreSQL."""
    DATABASE = "database"
    """The receiver reads it there."""


def is_probe(event: Event) -> bool:
    """Whether an event is a probe."""
    return event.tenant_id == PROBE_TENANT


@cache
def probe_user(shard: int, shards: int) -> str:
    """The user whose probes go through a shard."""
    return next(user for user in map(str, count()) if shard_for(PROBE_TENANT, user, shards) == shard)


def probe_event(shard: int, shards: int, number: int) -> Event:
    """The probe of a shard; ``number`` is when it sets out, in microseconds, and tells it from earlier ones."""
    return Event(
        event_id=str(number),
        event_type=_EVENT_TYPE,
        tenant_id=PROBE_TENANT,
        user_id=probe_user(shard, shards),
        occurred_at=number,
        accepted_at=number,
        value=1,
        source="questline",
        payload=_PAYLOAD,
    )


class ProbeRow(NamedTuple):
    """A probe that came through a shard."""

    shard: int
    number: int
    """When it set out, in microseconds."""
