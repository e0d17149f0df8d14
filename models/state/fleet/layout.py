"""The number of shards that Redis is laid out by, and its change.

What is noted is a fence (promise P13): the script that appends to a journal takes nothing by another number, and
nothing at all while the number changes. So a receiver that does not know of a change, since it was frozen meanwhile,
say, does no harm.
"""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from redis import Redis

from models.fleet.installation import InstallationRecord
from models.state.connection import state_errors
from models.state.keys import layout_key, shard_keys
from models.state.scripts import ScriptCall, call_all, register

_SHARDS = "SHARDS"
_OF_USERS = re.compile(rb"ql:\{s\d+\}:(u|seen|attr(@[0-9a-f]+)?|tries):")
_PATTERN = "ql:{s*}:*"
_SCANNED = 1000
"""Keys looked at in one round trip."""
CLOSED = 0


class Layouts:
    """The layout of all shards. Every method may raise ``StateUnavailableError``."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._write = register(redis, "write_layout")

    def follow(self, record: InstallationRecord) -> None:
        """Note what a record says with every shard that it ever had or will have."""
        shards = CLOSED if record.change is not None else int(record.values[_SHARDS])
        calls = [
            ScriptCall(self._write, keys=[layout_key(shard)], args=[record.revision, shards])
            for shard in range(most_shards(record))
        ]
        with state_errors():
            call_all(self._redis, calls)

    def begin_epoch(self, most: int) -> None:
        """Trust no record of a user from now on that was loaded before: see ``histories.py``."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(most):
                pipeline.hset(shard_keys(shard).history, "epoch", uuid4().hex)
                pipeline.delete(shard_keys(shard).fence)  # no publication raises that of a shard that is no more
            pipeline.execute()

    def forget_users(self) -> Iterator[int]:
        """Drop all that Redis knows of users, a bounded number at a time, yielding how many keys that were.

        PostgreSQL must have all of it: the users' next events load them under their new shards.
        """
        cursor: Any = 0
        while True:
            with state_errors():
                told: Any = self._redis.scan(cursor, match=_PATTERN, count=_SCANNED)
                cursor, found = told
                names = [name for name in found if _OF_USERS.match(name)]
                if names:
                    self._redis.unlink(*names)
            yield len(names)
            if cursor == 0:
                return

    def lift_counters(self, shards: int, most: int) -> None:
        """Let every shard draw versions above those of all shards: its new users were written with theirs."""
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for shard in range(most):
                pipeline.get(shard_keys(shard).record_version)
            drawn = [int(found or 0) for found in pipeline.execute()]
            for shard in range(shards):
                if drawn[shard] < max(drawn):
                    pipeline.set(shard_keys(shard).record_version, max(drawn))
            pipeline.execute()

    def gather_counts(self, shards: int, most: int) -> None:
        """Move the counts of shards that are no more to the first one: the fleet's are their sum."""
        for shard in range(shards, most):
            counts = shard_keys(shard).counts
            with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
                found: Any = self._redis.hgetall(counts)
                for name, number in found.items():
                    pipeline.hincrby(shard_keys(0).counts, name, int(number))
                pipeline.delete(counts)
                pipeline.execute()


def most_shards(record: InstallationRecord) -> int:
    """The highest number of shards that an installation has, had or is about to have."""
    change = () if record.change is None else (record.change.values.get(_SHARDS, "0"),)
    return max(int(number) for number in (record.values[_SHARDS], *record.former.get(_SHARDS, ()), *change))
