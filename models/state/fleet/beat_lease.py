"""The lease of the one beat that sends ticks; other beats stand by."""

from datetime import timedelta
from typing import Any

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import BEAT_LEASE
from models.state.scripts import register

BEAT_LEASE_TTL = timedelta(seconds=3)
"""After so long another beat replaces one that was killed. Far above the second between two renewals."""


class BeatLease:
    """The lease, as one beat sees it. Every method may raise ``StateUnavailableError``."""

    def __init__(self, redis: Redis, name: str, *, ttl: timedelta = BEAT_LEASE_TTL) -> None:
        self._redis, self._name = redis, name
        self._ttl_ms = ttl // timedelta(milliseconds=1)
        self._hold = register(redis, "hold_lease")
        self._release = register(redis, "release_lease")

    def hold(self) -> bool:
        """Take the lease, or renew it; tells whether it is ours now."""
        with state_errors():
            return bool(self._hold(keys=[BEAT_LEASE], args=[self._name, self._ttl_ms]) == 1)

    def release(self) -> None:
        """Let the next one have it at once."""
        with state_errors():
            self._release(keys=[BEAT_LEASE], args=[self._name])

    def holder(self) -> str | None:
        """The beat that has it now."""
        with state_errors():
            name: Any = self._redis.get(BEAT_LEASE)
        return None if name is None else str(name.decode())
