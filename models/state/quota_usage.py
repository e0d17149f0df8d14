"""What tenants and keys have sent on a day (of UTC), over all receivers."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from redis import Redis

from models.state.connection import state_errors
from models.state.keys import usage_key

_KEPT = timedelta(days=2)
_READ_TOGETHER = 1000
"""Names that one command asks for."""


class DailyUsage:
    """Bytes by name, added up by all receivers."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, day: str, sizes: Mapping[str, int]) -> dict[str, int]:
        """Add to what was sent on a day, and answer what each name has sent in all. A 0 only asks, and writes nothing.

        Raises:
            StateUnavailableError: the state Redis did not answer; whether it was added is not known.
        """
        key = usage_key(day)
        totals = self._read(key, [name for name, size in sizes.items() if not size])  # first: it may fail as well
        added = {name: size for name, size in sizes.items() if size}
        if added:
            with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
                for name, size in added.items():
                    pipeline.hincrby(key, name, size)
                pipeline.expire(key, _KEPT)
                *sums, _ = pipeline.execute()
            totals |= dict(zip(added, sums, strict=True))
        return totals

    def _read(self, key: str, names: Sequence[str]) -> dict[str, int]:
        with state_errors(), self._redis.pipeline(transaction=False) as pipeline:
            for first in range(0, len(names), _READ_TOGETHER):
                pipeline.hmget(key, list(names[first : first + _READ_TOGETHER]))
            sizes = [size for part in pipeline.execute() for size in part]
        return {name: int(size or 0) for name, size in zip(names, sizes, strict=True)}
