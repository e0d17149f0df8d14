"""Counters and histograms of the whole fleet, kept in the state Redis.

Every process counts in memory and pushes what it counted about once a second; what could not be pushed waits for
the next push. Reading (``api/metrics/``) sums nothing: the hash already is the sum over all processes.
``models/declarations/metrics.py`` declares them and names the fields of the hash.
"""

from collections import defaultdict
from threading import Event, Lock, Thread

import structlog
from redis import Redis
from redis.exceptions import RedisError

from models.declarations.metrics import Counter, Histogram
from models.state.keys import METRICS

log = structlog.get_logger()


class Metrics:
    """What this process has counted since its last push. Safe to use from several threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = Lock()
        self._pending: defaultdict[str, float] = defaultdict(float)
        self._stop = Event()
        self._thread: Thread | None = None

    def count(self, counter: Counter, amount: float = 1, *, label: str | None = None) -> None:
        """Add to a counter; ``label`` is the value of its one label, where it has one."""
        with self._lock:
            self._pending[counter.field(label)] += amount

    def observe(self, histogram: Histogram, value: float, *, times: int = 1) -> None:
        """Put a value into a histogram, ``times`` over."""
        with self._lock:
            for field, amount in histogram.fields(value, times):
                self._pending[field] += amount

    def push(self) -> None:
        """Send what was counted; on failure it is kept for the next push."""
        with self._lock:
            pending, self._pending = self._pending, defaultdict(float)
        if not pending:
            return
        try:
            pipeline = self._redis.pipeline(transaction=True)
            for field, amount in pending.items():
                pipeline.hincrbyfloat(METRICS, field, amount)
            pipeline.execute()
        except RedisError as error:
            log.warning("meters_not_pushed", error=str(error))
            with self._lock:
                for field, amount in pending.items():
                    self._pending[field] += amount

    def start(self, interval: float = 1.0) -> None:
        """Push every ``interval`` seconds from a thread of its own, until ``stop``."""
        self._thread = Thread(target=self._run, args=(interval,), name="metrics", daemon=True)
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
