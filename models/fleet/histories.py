"""The identity of a store's history, to tell one that went back (promise P12).

Each flush of a shard has a number and a random token. PostgreSQL keeps those of the last one it committed. The state
Redis keeps those of the last one it knows to be committed, and of the one that may be: it learns of a flush after
everything that the flush writes was read from it, and before PostgreSQL commits. So a Redis that knows the flush that
PostgreSQL had last holds, or has held, all that PostgreSQL has; and no other does.
"""

from enum import StrEnum
from typing import NamedTuple

FIRST_EPOCH = "1"
"""The epoch of a shard that was never reset."""


class FlushMark(NamedTuple):
    """A flush of a shard; without a number and a token: none."""

    number: int = 0
    token: str = ""


NO_FLUSH = FlushMark()


class StateHistory(NamedTuple):
    """What the state Redis knows of a shard."""

    epoch: str = FIRST_EPOCH
    """Records of another epoch are not trusted."""
    flushed: FlushMark = NO_FLUSH
    """The last flush that is known to be committed."""
    under_way: FlushMark | None = None
    """The flush that is about to be committed, or was without Redis being told."""
    flushed_events: int = 0
    """How many events all flushes wrote."""
    is_closed: bool = False
    """A reset is under way, or was cut off."""
    is_behind: bool = False
    """Nothing is accepted, for PostgreSQL was found to be older."""
    fence: int | None = None
    """The lowest revision of rules for its events (``models/state/fleet/fences.py``), where that is known."""


class DatabaseHistory(NamedTuple):
    """What PostgreSQL knows of a shard."""

    flushed: FlushMark = NO_FLUSH
    log_version: int = 0
    """Every event that was applied up to this version is in ``events``."""
    row_version: int = 0
    """No row was written with a higher version."""
    flushed_events: int = 0
    event_rate: float = 0.0
    """Events a second of the last flushes."""
    silent_seconds: float = 0.0
    """Since the last flush."""
    rules: int = 0
    """The newest publication of rules."""


class Standing(StrEnum):
    """How the two stores of a shard stand to each other; the values are what logs and commands say."""

    IN_STEP = "in_step"
    STATE_BEHIND = "redis_behind"
    DATABASE_BEHIND = "postgresql_behind"


def standing(database: DatabaseHistory, state: StateHistory) -> Standing:
    """Which of the stores went back in time, if any; Redis must have been read after PostgreSQL.

    Before rules are published their fence is raised in Redis: one that is lower is of before.

    Where Redis does not know PostgreSQL's last flush and has itself come as far or further, PostgreSQL counts as the
    one behind: that stops the flush and asks a person, so it is the safe answer where both may be.
    """
    if database.flushed in (state.flushed, state.under_way):
        is_of_before = state.fence is not None and state.fence < database.rules
        return Standing.STATE_BEHIND if is_of_before else Standing.IN_STEP
    return Standing.STATE_BEHIND if database.flushed.number > state.flushed.number else Standing.DATABASE_BEHIND
