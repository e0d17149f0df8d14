"""Taking clean records out of Redis, the least recently used first, by a sample.

A record and its sets of event ids go together, and only where PostgreSQL has all of it (``evict_users.lua``): the next
event of the user loads them again. What serves is the time of the last use that Redis keeps with each key, so a user
costs no further memory.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
from redis import Redis

from config.shards import shard_for
from models.state.connection import state_errors
from models.state.keys import RECORD_MARK, member, record_key, seen_key, shard_keys
from models.state.scripts import ScriptCall, call_all, register
from models.wire import Candidate

SAMPLE = 1000
"""Keys looked at in a round, drawn by chance; up to half of them are records."""
PART = 0.25
"""Of the records of a sample, those to go: the ones used last stay with near certainty, whatever is drawn."""
_FIELDS = ("@tenant", "@user", "@seen", "@seen_before")


class Evictions:
    """Evicts the records of all shards."""

    def __init__(self, redis: Redis, shards: int, *, sample: int = SAMPLE) -> None:
        self._redis, self._shards, self._sample = redis, shards, sample
        self._evict = register(redis, "evict_users")

    def evict(self) -> int:
        """One round; tells how many records it took out.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        return self.evict_records(self._idlest())

    def evict_records(self, records: Sequence[bytes]) -> int:
        """Take out those of these records, named by their keys, that may go."""
        return self.evict_users(self.candidates(records))

    def evict_users(self, users: Mapping[int, Sequence[Candidate]]) -> int:
        """Take out the records of these users, by shard, that have not changed since they were looked at."""
        with state_errors():
            return sum(call_all(self._redis, [self._call(shard, some) for shard, some in users.items()]))

    def candidates(self, records: Sequence[bytes]) -> dict[int, list[Candidate]]:
        """Whose these records are, by shard, where they are records at all."""
        if not records:
            return {}
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for key in records:
                pipeline.hmget(key, *_FIELDS)
            replies = pipeline.execute(raise_on_error=False)
        users: defaultdict[int, list[Candidate]] = defaultdict(list)
        for key, found in zip(records, replies, strict=True):
            if isinstance(found, list) and None not in found[:2]:
                tenant, user = found[0].decode(), found[1].decode()
                shard, name = shard_for(tenant, user, self._shards), member(tenant, user)
                if record_key(shard, name).encode() == key:
                    users[shard].append(Candidate(name, found[2] or b"", found[3] or b""))
        return users

    def _call(self, shard: int, users: Sequence[Candidate]) -> ScriptCall:
        keys = shard_keys(shard)
        names = [keys.dirty, keys.log]
        for user in users:
            dedup_buckets = (int(user.seen or 0), int(user.seen_before or 0))
            names += [record_key(shard, user.member), *(seen_key(shard, user.member, one) for one in dedup_buckets)]
        return ScriptCall(self._evict, names, [msgpack.packb(users, use_bin_type=False)])

    def _idlest(self) -> list[bytes]:
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for _ in range(self._sample):
                pipeline.randomkey()
            drawn = pipeline.execute()
            records = list({key for key in drawn if key and RECORD_MARK in key})
            for key in records:
                pipeline.object("idletime", key)
            # A key that is gone, or another policy that keeps no such time, counts as used just now.
            idle: list[Any] = [
                reply if isinstance(reply, int) else 0 for reply in pipeline.execute(raise_on_error=False)
            ]
        by_age = sorted(zip(idle, records, strict=True), reverse=True)
        return [key for _, key in by_age[: max(1, int(len(by_age) * PART))]] if by_age else []
