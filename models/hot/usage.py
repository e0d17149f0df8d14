"""What tenants and keys have sent on a day (of UTC), over all receivers: one hash a day, in the state Redis."""

from collections.abc import Mapping
from datetime import timedelta

from redis import Redis

from models.hot.connection import state_errors
from models.hot.keys import usage_key

_KEPT = timedelta(days=2)


class DailyUsage:
    """Bytes by name, added up by all receivers."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, day: str, sizes: Mapping[str, int]) -> dict[str, int]:
        """Add to what was sent on a day, and answer what each name has sent in all, in one round trip.

        Raises:
            StateUnavailableError: the state Redis did not answer; whether it was added is not known.
        """
        key = usage_key(day)
        with state_errors(), self._redis.pipeline(transaction=True) as pipeline:
            for name, size in sizes.items():
                pipeline.hincrby(key, name, size)
            pipeline.expire(key, _KEPT)
            *totals, _ = pipeline.execute()
        return dict(zip(sizes, totals, strict=True))
