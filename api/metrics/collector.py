"""Prometheus metrics of the fleet, read from the state Redis.

Any one process can answer for all of them, and a restarted process takes nothing away.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from math import inf
from platform import python_version
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from redis import Redis

from api.metrics.families import counted_families, counter, gauge, labelled_gauge
from api.metrics.fleet import fleet_metrics
from models.declarations import metrics
from models.errors import BrokerUnavailableError, StateUnavailableError
from models.state.checks.memory import read_memory
from models.state.connection import state_errors
from models.state.dead_letter_count import read_depth
from models.state.fleet.histories import read_histories
from models.state.keys import METRICS, shard_keys
from models.state.progress.records import Records
from models.state.queue.journal import Journal

log = structlog.get_logger()


@dataclass(slots=True, eq=False)  # a registry keeps collectors by identity
class FleetCollector(Collector):
    """Reads everything at each scrape; keeps nothing."""

    redis: Redis
    shards: int
    """May be set between scrapes."""
    journal: Journal
    records: Records
    ping_broker: Callable[[], None]
    """Raises BrokerUnavailableError."""
    now_us: Callable[[], int]

    def describe(self) -> list[Metric]:
        """Nothing is read before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics; beside the release only ``questline_state_up 0`` while the state Redis is away."""
        yield labelled_gauge(metrics.BUILD, [((version("questline"), python_version()), 1)])
        try:
            with state_errors():
                fields: Any = self.redis.hgetall(METRICS)
            counted = {name.decode(): float(value) for name, value in fields.items()}
            found = [
                *counted_families(counted),
                *self._applied(),
                *self._now(),
                *self._memory(),
                *self._depth(),
                *fleet_metrics(self.redis),
            ]
        except StateUnavailableError as error:
            log.warning("metrics_not_read", error=str(error))
            yield gauge(metrics.STATE_UP, 0)
            return
        yield gauge(metrics.STATE_UP, 1)
        yield from found
        yield self._broker()

    def _applied(self) -> Iterator[Metric]:
        with state_errors(), self.redis.pipeline(transaction=False) as pipeline:
            for shard in range(self.shards):
                pipeline.hmget(shard_keys(shard).counts, "applied", "duplicate")
            counts = pipeline.execute()
        applied, duplicate = (sum(int(row[index] or 0) for row in counts) for index in (0, 1))
        yield counter(metrics.EVENTS_PROCESSED, [(None, applied)])
        yield counter(metrics.EVENTS_DUPLICATE, [(None, duplicate)])

    def _now(self) -> Iterator[Metric]:
        journal = self.journal.states(self.shards)
        dirty = sum(self.records.dirty_counts(self.shards))
        oldest = min((state.oldest_ms for state in journal if state.oldest_ms), default=0)
        ready = min((state.ready_ms for state in journal if state.ready_ms), default=0)
        yield gauge(metrics.BUFFER_SIZE, dirty)
        yield gauge(metrics.DIRTY_USERS, dirty)
        lengths = [((str(shard),), state.batches) for shard, state in enumerate(journal)]
        yield labelled_gauge(metrics.QUEUE_LENGTH, lengths)
        yield gauge(metrics.JOURNAL_BATCHES, sum(s.batches for s in journal))
        yield gauge(metrics.JOURNAL_BYTES, sum(s.size for s in journal))
        yield gauge(metrics.LOG_BYTES, self._log_bytes())
        yield gauge(metrics.JOURNAL_OLDEST, self._age(oldest * 1000))
        yield gauge(metrics.JOURNAL_WAITING, self._age(ready * 1000))
        lag = self._age(self.records.oldest_change(self.shards))
        behind = sum(history.is_behind for history in read_histories(self.redis, range(self.shards)).values())
        yield gauge(metrics.DATABASE_BEHIND, behind)
        yield gauge(metrics.FLUSH_WAITING, lag)

    def _memory(self) -> Iterator[Metric]:
        memory = read_memory(self.redis, self.shards)
        yield gauge(metrics.STATE_MEMORY, memory.used)
        yield gauge(metrics.STATE_MEMORY_LIMIT, memory.limit)

    def _depth(self) -> Iterator[Metric]:
        with state_errors():
            depth = read_depth(self.redis)
        yield labelled_gauge(metrics.DEAD_LETTER_DEPTH, depth.dead_letters.items())
        # Where nothing was counted yet, as in a Redis that is new or was wiped, an age of 0 would hide that.
        age = self._age(depth.counted_at) if depth.counted_at else inf
        yield gauge(metrics.DEAD_LETTERS_COUNTED, age)

    def _broker(self) -> Metric:
        """What the broker tells, which may be another Redis than all the rest is from."""
        try:
            self.ping_broker()
        except BrokerUnavailableError as error:
            log.warning("metrics_not_read", error=str(error))
            return gauge(metrics.BROKER_UP, 0)
        return gauge(metrics.BROKER_UP, 1)

    def _log_bytes(self) -> int:
        with state_errors(), self.redis.pipeline(transaction=False) as pipeline:
            for shard in range(self.shards):
                pipeline.get(shard_keys(shard).log_bytes)
            return sum(int(size or 0) for size in pipeline.execute())

    def _age(self, since_us: int) -> float:
        return max(0.0, (self.now_us() - since_us) / 1e6) if since_us else 0.0


def fleet_registry(collector: FleetCollector) -> CollectorRegistry:
    """A registry that holds the fleet's metrics and nothing of this one process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry
