"""Counters and histograms of the whole fleet, kept in the state Redis so that any process can show them all.

Every process counts in memory and pushes what it counted about once a second; what could not be pushed waits for
the next push. Reading (``api/metrics.py``) sums nothing: the hash already is the sum over all processes.
Fields of the hash: ``name`` or ``name{label}`` for a counter; ``name|le``, ``name|sum`` and ``name|count`` for a
histogram.
"""

from bisect import bisect_left
from collections import defaultdict
from threading import Event, Lock, Thread

import structlog
from redis import Redis
from redis.exceptions import RedisError

from models.state.keys import METERS

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the duration histograms, in seconds."""
SIZE_BUCKETS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0)
"""Upper bounds of the histograms that count things."""

log = structlog.get_logger()


class Meters:
    """What this process has counted since its last push. Safe to use from several threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = Lock()
        self._pending: defaultdict[str, float] = defaultdict(float)
        self._stop = Event()
        self._thread: Thread | None = None

    def count(self, name: str, amount: float = 1, *, label: str = "") -> None:
        """Add to a counter; ``label`` is the value of its one label, where it has one."""
        with self._lock:
            self._pending[f"{name}{{{label}}}" if label else name] += amount

    def observe(self, name: str, value: float, *, times: int = 1, buckets: tuple[float, ...] = BUCKETS) -> None:
        """Put a value (seconds, or a size with ``SIZE_BUCKETS``) into a histogram, ``times`` over."""
        place = bisect_left(buckets, value)
        bound = repr(buckets[place]) if place < len(buckets) else "+Inf"
        with self._lock:
            self._pending[f"{name}|{bound}"] += times
            self._pending[f"{name}|sum"] += value * times
            self._pending[f"{name}|count"] += times

    def push(self) -> None:
        """Send what was counted; on failure it is kept for the next push."""
        with self._lock:
            pending, self._pending = self._pending, defaultdict(float)
        if not pending:
            return
        try:
            pipeline = self._redis.pipeline(transaction=True)
            for field, amount in pending.items():
                pipeline.hincrbyfloat(METERS, field, amount)
            pipeline.execute()
        except RedisError as error:
            log.warning("meters_not_pushed", error=str(error))
            with self._lock:
                for field, amount in pending.items():
                    self._pending[field] += amount

    def start(self, interval: float = 1.0) -> None:
        """Push every ``interval`` seconds from a thread of its own, until ``stop``."""
        self._thread = Thread(target=self._run, args=(interval,), name="meters", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and push what is left."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self.push()

    def _run(self, interval: float) -> None:
        while not self._stop.wait(interval):
            self.push()
