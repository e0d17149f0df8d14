"""A copy of the key store in Redis, for a start while PostgreSQL is away.

A process that may write to this Redis could forge the journal itself, so the copy asks for no more trust than there is.
It holds hashes, no secrets, and lapses when no receiver has read PostgreSQL for an hour: a key that was revoked while
no receiver ran is not taken for longer than that. A copy without keys is no copy: the first key may have been made
since, and a receiver on loopback would let every request in.
"""

from datetime import timedelta
from typing import Any, NamedTuple

from redis import Redis

from models.access.api_keys import KeyStore
from models.state.connection import state_errors
from models.state.keys import API_KEYS

COPY_TTL = timedelta(hours=1)


class CopiedKeyStore(NamedTuple):
    """Keys as they stood some time ago."""

    key_store: KeyStore
    left: timedelta
    """How much longer they may be believed."""


class KeyStoreCopy:
    """The copy that all receivers share."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def write(self, key_store: KeyStore) -> None:
        """Replace the copy by a key store that was just read from PostgreSQL.

        Raises:
            StateUnavailableError: Redis did not answer.
        """
        with state_errors():
            self._redis.set(API_KEYS, key_store.pack(), ex=COPY_TTL)

    def read(self) -> CopiedKeyStore | None:
        """The key store; None where there is no copy, it has lapsed or holds no key, or another release wrote it.

        Raises:
            StateUnavailableError: Redis did not answer.
        """
        with state_errors(), self._redis.pipeline() as pipeline:
            pipeline.get(API_KEYS)
            pipeline.pttl(API_KEYS)
            found: Any = pipeline.execute()
        packed, left_ms = found
        if packed is None or left_ms <= 0:  # negative also where its end was taken away
            return None
        try:
            key_store = KeyStore.unpack(packed)
        except (TypeError, ValueError):
            return None
        return None if key_store.is_empty else CopiedKeyStore(key_store, timedelta(milliseconds=left_ms))
