"""Users' attributes in the state Redis: a cache of the table ``user_attributes``."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from redis import Redis

from models.attributes import Attributes, pack_attributes, unpack_attributes
from models.fleet.histories import FIRST_EPOCH
from models.state.connection import state_errors, with_none_for_other_types
from models.state.keys import attributes_key, epoch_of, member, shard_keys

User = tuple[str, str]
"""Tenant and user."""


class AttributeCache:
    """The attributes of users seen lately. A user known to have none is kept as an empty object.

    Reading prolongs: whose record is in Redis, because events come for it, has attributes there too. So those users'
    events need no PostgreSQL. What was cached in another epoch of the shard (``histories.py``) is under another key.
    """

    def __init__(self, redis: Redis, *, ttl: timedelta) -> None:
        self._redis = redis
        self._ttl_ms = ttl // timedelta(milliseconds=1)
        self._epochs: dict[int, str] = {}
        """Those of the shards, as they were seen last."""

    def read(self, shard: int, users: Sequence[User]) -> dict[User, Attributes]:
        """The attributes of those users of a shard that the cache has, in one round trip.

        A key that holds what we did not write counts as missing: PostgreSQL is asked.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        if not users:
            return {}
        asked = self._epochs.get(shard, FIRST_EPOCH)
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hget(shard_keys(shard).history, "epoch")
            for user in users:
                pipeline.getex(_key(shard, user, asked), px=self._ttl_ms)
            epoch, *found = with_none_for_other_types(pipeline.execute(raise_on_error=False))
        self._epochs[shard] = epoch_of(epoch)
        if self._epochs[shard] != asked:
            return self.read(shard, users)
        return {user: known for user, text in zip(users, found, strict=True) if (known := _unpacked(text)) is not None}

    def fill(self, shard: int, known: Mapping[User, Attributes]) -> None:
        """Cache what PostgreSQL said, unless someone has written meanwhile.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        epoch = self._epoch(shard)
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for user, attributes in known.items():
                pipeline.set(_key(shard, user, epoch), pack_attributes(attributes), px=self._ttl_ms, nx=True)
            pipeline.execute()

    def put(self, shard: int, user: User, attributes: Attributes) -> None:
        """Cache a user's new attributes.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        epoch = self._epoch(shard)
        with state_errors():
            self._redis.set(_key(shard, user, epoch), pack_attributes(attributes), px=self._ttl_ms)

    def drop(self, shard: int, user: User) -> None:
        """Forget a user's attributes, so that PostgreSQL is asked.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        epoch = self._epoch(shard)
        with state_errors():
            self._redis.delete(_key(shard, user, epoch))

    def _epoch(self, shard: int) -> str:
        with state_errors():
            told: Any = self._redis.hget(shard_keys(shard).history, "epoch")
        return epoch_of(told)


def _unpacked(text: bytes | None) -> Attributes | None:
    """None for what is missing or no attributes of ours."""
    if text is None:
        return None
    try:
        attributes = unpack_attributes(text)
    except ValueError:
        return None
    return attributes if isinstance(attributes, dict) else None


def _key(shard: int, user: User, epoch: str) -> str:
    return attributes_key(shard, member(*user), epoch)
