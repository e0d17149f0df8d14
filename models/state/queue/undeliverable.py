"""What no worker can take for a task, kept in the broker's Redis until the maintenance sweep has made dead letters of
it.
"""

from collections.abc import Sequence
from types import NoneType
from typing import Any, NamedTuple

import msgpack
from redis import Redis

from models.dead_letter_reasons import Reason
from models.state.connection import state_errors
from models.state.keys import UNDELIVERABLE, UNDELIVERABLE_BYTES
from models.state.scripts import register

MAX_KEPT = 10_000
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""The list is bounded: past either the oldest entries leave, though nobody has made dead letters of them."""

_KEYS = (UNDELIVERABLE, UNDELIVERABLE_BYTES)


class UndeliverableMessage(NamedTuple):
    """Something that no worker can take for a task, or a task that failed."""

    reason: str
    error: str
    raw: bytes
    queue: str | None = None
    task: str | None = None
    exception: str | None = None
    traceback: str | None = None


class UndeliverableMessages:
    """The list, oldest entries last."""

    def __init__(self, redis: Redis, *, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._redis = redis
        self._max_bytes = max_bytes
        self._keep = register(redis, "keep_undeliverable")
        self._drop = register(redis, "drop_undeliverable")

    def add(self, message: UndeliverableMessage) -> int:
        """Keep an entry; returns how many had to leave for it.

        Raises:
            StateUnavailableError: the broker did not answer; whether it is kept is not known.
        """
        with state_errors():
            left: int = self._keep(keys=_KEYS, args=[pack_undeliverable(message), MAX_KEPT, self._max_bytes])
        return left

    def oldest(self, limit: int) -> list[bytes]:
        """The oldest entries, packed.

        Raises:
            StateUnavailableError: the broker did not answer.
        """
        with state_errors():
            packed: Any = self._redis.lrange(UNDELIVERABLE, -limit, -1)
        return list(reversed(packed))

    def remove(self, entries: Sequence[bytes]) -> None:
        """Take out entries that became dead letters; others that came meanwhile stay.

        Raises:
            StateUnavailableError: the broker did not answer.
        """
        with state_errors():
            self._drop(keys=_KEYS, args=list(entries))


def pack_undeliverable(message: UndeliverableMessage) -> bytes:
    """The bytes of an entry. No text makes this fail, for nobody would be left to keep the entry."""
    packed: bytes = msgpack.packb(message, unicode_errors="backslashreplace")
    return packed


def unpack_undeliverable(packed: bytes) -> UndeliverableMessage:
    """Read an entry; bytes that are none become an entry of their own."""
    try:
        message = UndeliverableMessage(*msgpack.unpackb(packed)[: len(UndeliverableMessage._fields)])
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        return UndeliverableMessage(Reason.UNDECODABLE_MESSAGE, f"not an entry of {UNDELIVERABLE}: {error}", packed)
    kinds = [*map(type, message)]
    if kinds[:3] != [str, str, bytes] or not {str, NoneType}.issuperset(kinds[3:]):
        return UndeliverableMessage(
            Reason.UNDECODABLE_MESSAGE, f"not an entry of {UNDELIVERABLE}: a value is of the wrong type", packed
        )
    return message
