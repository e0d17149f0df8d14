"""Prometheus metrics of the whole fleet: what all processes counted into the state Redis, and what it holds now.

Any one process can answer for all of them, and a restarted process takes nothing away.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import inf
from platform import python_version
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from api.fleet_metrics import fleet_metrics
from models.access import Refused
from models.dead_letter_reasons import Reason
from models.errors import SERVER_AWAY, Bound, BrokerUnavailableError, StateUnavailableError
from models.state.connection import state_errors
from models.state.dead_letter_count import read_depth
from models.state.fleet.histories import read_histories
from models.state.keys import METERS, shard_keys
from models.state.metrics import BUCKETS, SIZE_BUCKETS
from models.state.progress.records import Records
from models.state.queue.journal import Journal
from models.state.server.memory import read_memory

SEED = "challenge_event_handler"
"""Prefix of the names kept from the system this replaces."""

COUNTERS: Mapping[str, tuple[str, str | None]] = {
    f"{SEED}_events_total": ("Events received, accepted or not", None),
    f"{SEED}_events_failed_total": ("Events that were accepted but could not be processed", None),
    "questline_events_accepted_total": ("Events accepted", None),
    "questline_events_rejected_total": ("Events refused, by reason", "code"),
    "questline_requests_refused_total": ("Requests their caller may not make, by reason", "reason"),
    "questline_events_ignored_total": ("Events of other namespaces, acknowledged and ignored", None),
    "questline_requests_overloaded_total": ("Requests refused because a bound was reached, by bound", "bound"),
    "questline_publish_failures_total": ("Journaled batches the broker did not take; the sweep publishes them", None),
    "questline_batches_postponed_total": ("Batches put back for a passing fault", "error"),
    "questline_plans_refused_total": ("Plans refused for rules that were published since they were read", None),
    "questline_retries_total": ("Calls tried again after a passing fault, by reason", "reason"),
    "questline_dead_letters_total": ("Dead letters written, by reason", "reason"),
    "questline_batches_republished_total": ("Batches the sweep published again", None),
    "questline_users_loaded_total": ("Records loaded from PostgreSQL", None),
    "questline_users_evicted_total": ("Clean records taken out of Redis for lack of memory", None),
    "questline_unlocks_total": ("Goals completed", None),
    "questline_events_redriven_total": ("Events of dead letters that were accepted again", None),
    "questline_flushed_rows_total": ("Progress rows written to PostgreSQL", None),
    "questline_flushed_events_total": ("Events written to PostgreSQL", None),
    "questline_state_history_resets_total": ("Shards reset after Redis or PostgreSQL went back in time", None),
}

KNOWN_LABELS: Mapping[str, Sequence[str]] = {
    "questline_requests_refused_total": tuple(Refused),
    "questline_requests_overloaded_total": tuple(Bound),
    "questline_retries_total": tuple(error.__name__ for error in SERVER_AWAY),
    "questline_dead_letters_total": tuple(Reason),
}
"""Labels that are 0 from the start: ``increase()`` knows nothing of a series before its first sample, so an alert would
miss whatever was counted by then. A name that is counted and not here is answered all the same."""

HISTOGRAMS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    f"{SEED}_event_processing_duration_seconds": ("Time a worker spends on an event", BUCKETS),
    f"{SEED}_flush_duration_seconds": ("Duration of a flush transaction", BUCKETS),
    f"{SEED}_db_batch_size": ("Progress rows of a flush transaction", SIZE_BUCKETS),
    "questline_commit_seconds": ("Duration of a group commit into the journal", BUCKETS),
    "questline_apply_latency_seconds": ("From accepted to applied, so readable", BUCKETS),
    "questline_flush_lag_seconds": ("From the oldest unflushed change to its commit, by transaction", BUCKETS),
}

log = structlog.get_logger()


@dataclass(slots=True, eq=False)  # a registry keeps collectors by identity
class FleetCollector(Collector):
    """Reads everything at each scrape; keeps nothing."""

    redis: Redis
    shards: int
    """May be set between scrapes."""
    journal: Journal
    records: Records
    queue_lengths: Callable[[int], list[int]]
    """Raises BrokerUnavailableError."""
    now_us: Callable[[], int]

    def describe(self) -> list[Metric]:
        """Nothing is read before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics; beside the release only ``questline_state_up 0`` while the state Redis is away.

        There are no queues while the broker is.
        """
        yield _build_info()
        try:
            with state_errors():
                fields: Any = self.redis.hgetall(METERS)
            counted = {name.decode(): float(value) for name, value in fields.items()}
            found = [
                *_counters(counted),
                *_histograms(counted),
                *self._applied(),
                *self._now(),
                *self._memory(),
                *self._depth(),
                *fleet_metrics(self.redis),
            ]
        except StateUnavailableError as error:
            log.warning("metrics_not_read", error=str(error))
            yield _gauge("questline_state_up", "Whether the state Redis answers", 0)
            return
        yield _gauge("questline_state_up", "Whether the state Redis answers", 1)
        yield from found
        yield from self._queues()

    def _applied(self) -> Iterator[Metric]:
        with state_errors(), self.redis.pipeline(transaction=False) as pipeline:
            for shard in range(self.shards):
                pipeline.hmget(shard_keys(shard).counts, "applied", "duplicate")
            counts = pipeline.execute()
        applied, duplicate = (sum(int(row[place] or 0) for row in counts) for place in (0, 1))
        yield CounterMetricFamily(f"{SEED}_events_processed", "Distinct events applied", value=applied)
        yield CounterMetricFamily("questline_events_duplicate", "Events that had been applied before", value=duplicate)

    def _now(self) -> Iterator[Metric]:
        journal = self.journal.states(self.shards)
        dirty = sum(self.records.dirty_counts(self.shards))
        oldest = min((state.oldest_ms for state in journal if state.oldest_ms), default=0)
        ready = min((state.ready_ms for state in journal if state.ready_ms), default=0)
        yield _gauge(f"{SEED}_buffer_size", "Users with changes PostgreSQL does not have yet", dirty)
        yield _gauge("questline_dirty_users", "Users with changes PostgreSQL does not have yet", dirty)
        yield _gauge("questline_journal_batches", "Accepted batches not applied yet", sum(s.batches for s in journal))
        yield _gauge("questline_journal_bytes", "Their size in bytes", sum(s.size for s in journal))
        yield _gauge("questline_log_bytes", "Size of applied batches PostgreSQL does not have yet", self._log_bytes())
        yield _gauge("questline_journal_oldest_seconds", "Age of the oldest of them", self._age(oldest * 1000))
        text = "How long batches have been ready in a shard without a worker that takes any"
        yield _gauge("questline_journal_waiting_seconds", text, self._age(ready * 1000))
        lag = self._age(self.records.oldest_change(self.shards))
        behind = sum(history.is_behind for history in read_histories(self.redis, range(self.shards)).values())
        yield _gauge("questline_database_behind", "Shards closed because PostgreSQL went back in time", behind)
        yield _gauge("questline_flush_waiting_seconds", "Age of the oldest change PostgreSQL does not have yet", lag)

    def _memory(self) -> Iterator[Metric]:
        memory = read_memory(self.redis, self.shards)
        yield _gauge("questline_state_memory_bytes", "Memory that the state Redis uses", memory.used)
        text = "Its maxmemory; 0 where there is none, or where we may not ask"
        yield _gauge("questline_state_memory_limit_bytes", text, memory.limit)

    def _depth(self) -> Iterator[Metric]:
        with state_errors():
            depth = read_depth(self.redis)
        letters = GaugeMetricFamily("questline_dead_letter_depth", "Dead letters", labels=["kind", "reason"])
        for cause, number in depth.letters.items():
            letters.add_metric(cause, number)
        yield letters
        # Where nobody has counted, since Redis is new or was wiped, an age of 0 would hide that nobody does.
        age = self._age(depth.counted_at) if depth.counted_at else inf
        yield _gauge("questline_dead_letters_counted_seconds", "Age of that count, which each sweep renews", age)

    def _queues(self) -> Iterator[Metric]:
        """What the broker tells, which may be another Redis than all the rest is from."""
        try:
            lengths = self.queue_lengths(self.shards)
        except BrokerUnavailableError as error:
            log.warning("metrics_not_read", error=str(error))
            yield _gauge("questline_broker_up", "Whether the broker answers", 0)
            return
        yield _gauge("questline_broker_up", "Whether the broker answers", 1)
        queues = GaugeMetricFamily("questline_queue_length", "Messages queued, by shard", labels=["shard"])
        for shard, length in enumerate(lengths):
            queues.add_metric([str(shard)], length)
        yield queues

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


def _build_info() -> Metric:
    family = GaugeMetricFamily("questline_build_info", "Release of this process", labels=["version", "python"])
    family.add_metric([version("questline"), python_version()], 1)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counters(counted: Mapping[str, float]) -> Iterator[Metric]:
    for name, (text, label) in COUNTERS.items():
        family = CounterMetricFamily(name.removesuffix("_total"), text, labels=[label] if label else [])
        if label is None:
            family.add_metric([], counted.get(name, 0))
        else:
            found = {field[len(name) + 1 : -1]: n for field, n in counted.items() if field.startswith(f"{name}{{")}
            for value, number in (dict.fromkeys(KNOWN_LABELS.get(name, ()), 0.0) | found).items():
                family.add_metric([value], number)
        yield family


def _histograms(counted: Mapping[str, float]) -> Iterator[Metric]:
    for name, (text, bounds) in HISTOGRAMS.items():
        cumulative, total = [], 0.0
        for bound in (*map(repr, bounds), "+Inf"):
            total += counted.get(f"{name}|{bound}", 0)
            cumulative.append((bound, total))
        family = HistogramMetricFamily(name, text, labels=[])
        family.add_metric([], cumulative, counted.get(f"{name}|sum", 0))
        yield family
