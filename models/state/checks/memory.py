"""The memory of the state Redis, what is on its way there, and its new users."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import NoPermissionError

from models.state.connection import state_errors
from models.state.keys import new_users_key, shard_keys

EXPANSION = 8
"""What an accepted event grows to at most, in times of its packed size, when it is applied: a small event of a new user
becomes a record, a set of ids and an entry of the log."""
LEAST_EXPANSION = 2
"""The same at least: it is in the log before it leaves the journal."""
_HOUR = timedelta(hours=1)


class StateMemory(NamedTuple):
    """The memory of the state Redis."""

    used: int
    """Bytes."""
    limit: int
    """Its ``maxmemory``; 0 where there is none."""
    waiting: int
    """Bytes of accepted batches that are not applied yet."""

    @property
    def part_used(self) -> float:
        """How much of the limit is used, from 0 to 1."""
        return self.used / self.limit if self.limit else 0.0

    @property
    def part_promised(self) -> float:
        """The same with what is accepted and will be applied, at most."""
        return (self.used + EXPANSION * self.waiting) / self.limit if self.limit else 0.0

    @property
    def part_certain(self) -> float:
        """The same, at least."""
        return (self.used + LEAST_EXPANSION * self.waiting) / self.limit if self.limit else 0.0


def read_memory(redis: Redis, shards: int) -> StateMemory:
    """Ask in one round trip. Where our user may not ask (no ``+info``), the memory counts as without a limit.

    Raises:
        StateUnavailableError: the state Redis did not answer.
    """
    with state_errors(), redis.pipeline(transaction=False) as pipeline:
        pipeline.info("memory")
        for shard in range(shards):
            pipeline.get(shard_keys(shard).journal_bytes)
        told, *waiting = pipeline.execute(raise_on_error=False)
        for reply in (told, *waiting):
            if isinstance(reply, Exception) and not isinstance(reply, NoPermissionError):
                raise reply
    size = sum(int(size or 0) for size in waiting if not isinstance(size, Exception))
    if isinstance(told, Exception):
        return StateMemory(0, 0, size)
    return StateMemory(int(told["used_memory"]), int(told.get("maxmemory", 0)), size)


class MemoryGauge:
    """Reads the memory of the state Redis."""

    def __init__(self, redis: Redis, shards: int) -> None:
        self._redis, self._shards = redis, shards

    def read(self) -> StateMemory:
        """See ``read_memory``."""
        return read_memory(self._redis, self._shards)


def held_by_tenant(redis: Redis, shards: int) -> dict[str, int]:
    """Bytes in journal and log by tenant, in one round trip.

    Raises:
        StateUnavailableError: the state Redis did not answer.
    """
    with state_errors(), redis.pipeline(transaction=False) as pipeline:
        for shard in range(shards):
            pipeline.hgetall(shard_keys(shard).held)
        found: list[Any] = pipeline.execute()
    held: Counter[str] = Counter()
    for sizes in found:
        held.update({tenant_id.decode(errors="replace"): int(size) for tenant_id, size in sizes.items()})
    return held


class NewUsers:
    """Users whom neither Redis nor PostgreSQL knew, counted by tenant and hour."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, numbers: Mapping[str, int], *, now_us: int) -> None:
        """Count new users of tenants.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        key = new_users_key(_hour(now_us))
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for tenant_id, number in numbers.items():
                pipeline.hincrby(key, tenant_id, number)
            pipeline.expire(key, 3 * _HOUR)
            pipeline.execute()

    def lately(self, *, now_us: int) -> dict[str, int]:
        """How many each tenant had in the last hour: all of this one, and of the one before its part that counts still.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        hour = _hour(now_us)
        left = 1 - now_us % _us(_HOUR) / _us(_HOUR)
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for one in (hour, hour - 1):
                pipeline.hgetall(new_users_key(one))
            found: list[Any] = pipeline.execute()
        numbers: dict[str, int] = {}
        for counts, weight in zip(found, (1.0, left), strict=True):
            for tenant_id, number in counts.items():
                name = tenant_id.decode()
                numbers[name] = numbers.get(name, 0) + int(int(number) * weight)
        return numbers


def _hour(now_us: int) -> int:
    return now_us // _us(_HOUR)


def _us(length: timedelta) -> int:
    return length // timedelta(microseconds=1)
