"""The partition assignment: a lease for each shard, and the workers alive.

A lease spreads the work, and no more than that: several consumers of one queue are safe, because whatever a batch does
is done by one script that knows the events it has seen. So a lease may be lost or held twice briefly without harm.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import WORKERS, lease_key
from models.state.scripts import Script, ScriptCall, call_all, register


class Leases:
    """The leases of all shards, as one worker sees them. Every method may raise ``StateUnavailableError``."""

    def __init__(self, redis: Redis, worker: str, *, shards: int, ttl: timedelta) -> None:
        self._redis = redis
        self._worker = worker
        self._shards = shards
        self._ttl_ms = ttl // timedelta(milliseconds=1)
        self._join = register(redis, "join_workers")
        self._hold = register(redis, "hold_lease")
        self._release = register(redis, "release_lease")

    def join(self) -> list[str]:
        """Say that this worker is alive; returns all that are, in the order of their names."""
        with state_errors():
            alive: list[bytes] = self._join(keys=[WORKERS], args=[self._worker, self._ttl_ms])
        return sorted(name.decode() for name in alive)

    def leave(self) -> None:
        """Say that this worker is going."""
        with state_errors():
            self._redis.zrem(WORKERS, self._worker)

    def hold(self, shards: Iterable[int]) -> set[int]:
        """Take or renew leases, in one round trip; returns the shards that are this worker's now."""
        return self._each(self._hold, shards, [self._worker, self._ttl_ms])

    def release(self, shards: Iterable[int]) -> set[int]:
        """Give leases back, in one round trip; returns the shards that were this worker's."""
        return self._each(self._release, shards, [self._worker])

    def free(self) -> list[int]:
        """The shards that no other worker holds."""
        with state_errors():
            owners = self._redis.pipeline(transaction=False)
            for shard in range(self._shards):
                owners.get(lease_key(shard))
            return [shard for shard, owner in enumerate(owners.execute()) if owner in {None, self._worker.encode()}]

    def _each(self, script: Script, shards: Iterable[int], args: list[Any]) -> set[int]:
        asked = sorted(shards)
        with state_errors():
            replies = call_all(self._redis, [ScriptCall(script, [lease_key(shard)], args) for shard in asked])
        return {shard for shard, reply in zip(asked, replies, strict=True) if reply == 1}
