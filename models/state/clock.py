"""The clock of the state Redis, which all workers share.

By it go the dedup generations, and which periods are past: a worker whose own clock is days off would else forget ids
that count, or drop rows that events can still reach.
"""

from collections.abc import Callable
from threading import Lock
from time import monotonic

from redis import Redis

from models.errors import StateUnavailableError
from models.state.connection import state_errors

ASKED_EVERY = 10.0
"""Seconds. In between, this machine's count of seconds is added to what Redis said."""


class StateClock:
    """Tells microseconds since the epoch; may be shared by threads."""

    def __init__(self, redis: Redis, *, seconds: Callable[[], float] = monotonic) -> None:
        self._redis = redis
        self._seconds = seconds
        self._lock = Lock()
        self._said_us: int | None = None
        self._said_at = self._ask_at = seconds()

    def __call__(self) -> int:
        """The time now.

        Raises:
            StateUnavailableError: the state Redis did not answer, and never has; later its last answer holds on.
        """
        with self._lock:
            if self._said_us is None or self._seconds() >= self._ask_at:
                try:
                    self._said_us, self._said_at = self._ask(), self._seconds()
                except StateUnavailableError:
                    if self._said_us is None:
                        raise
                self._ask_at = self._seconds() + ASKED_EVERY
            return self._said_us + int((self._seconds() - self._said_at) * 1_000_000)

    def _ask(self) -> int:
        with state_errors():
            seconds, microseconds = self._redis.time()
        return seconds * 1_000_000 + microseconds
