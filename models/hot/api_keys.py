"""A copy of the key ring in the state Redis, for a receiver that starts while PostgreSQL is away.

Whoever may write to this Redis could forge the journal itself, so the copy asks for no more trust than there is. It
holds hashes, no secrets, and lapses when no receiver has read PostgreSQL for an hour: a key that was revoked while no
receiver ran is not taken for longer than that.
"""

from datetime import timedelta
from typing import Any

from redis import Redis

from models.api_keys import KeyRing
from models.hot.connection import state_errors
from models.hot.keys import API_KEYS

COPY_TTL = timedelta(hours=1)


class KeyRingCopy:
    """The copy that all receivers share."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def write(self, ring: KeyRing) -> None:
        """Put a ring that was just read from PostgreSQL into the copy's place.

        Raises:
            StateUnavailableError: Redis did not answer.
        """
        with state_errors():
            self._redis.set(API_KEYS, ring.pack(), ex=COPY_TTL)

    def read(self) -> KeyRing | None:
        """The ring; None where there is no copy, it has lapsed, or another release wrote it.

        Raises:
            StateUnavailableError: Redis did not answer.
        """
        with state_errors():
            packed: Any = self._redis.get(API_KEYS)
        try:
            return None if packed is None else KeyRing.unpack(packed)
        except (TypeError, ValueError):
            return None
