"""Every metric of the fleet, declared once: name, type, labels, help, buckets.

Code that counts names one of these objects; ``models/state/metrics.py`` keeps what was counted, ``api/metrics/``
answers a scrape, and ``make docs-tables`` writes ``docs/reference/metrics.md``. The prefix ``challenge_event_handler``
is that of the system that Questline replaces.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.access.callers import Refused
from models.dead_letter_reasons import Reason
from models.errors import SERVER_AWAY, Bound

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class Counter:
    """What only grows. Counted by every process, kept in the state Redis in the fields ``field`` names."""

    name: str
    help: str
    label: str | None = None
    known: tuple[str, ...] = ()
    """Values of the label that are 0 from the start: ``increase()`` knows nothing of a series before its first sample,
    so an alert would miss what was counted by then. Other values are answered as well, once they were counted."""

    def field(self, value: str | None = None) -> str:
        """The field of one series."""
        if (value is None) is not (self.label is None):
            raise ValueError(f"{self.name} is counted with {'no label' if self.label is None else self.label}")
        return self.name if value is None else f"{self.name}{{{value}}}"

    def read(self, counted: Mapping[str, float]) -> list[tuple[str | None, float]]:
        """The series among all fields: the value of the label, None where it has none, and the number."""
        if self.label is None:
            return [(None, counted.get(self.name, 0))]
        start = f"{self.name}{{"
        found = {field[len(start) : -1]: number for field, number in counted.items() if field.startswith(start)}
        return [*(dict.fromkeys(self.known, 0.0) | found).items()]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a value lay up to each bound; counted and kept as a ``Counter`` is."""

    name: str
    help: str
    buckets: tuple[float, ...] = _SECONDS

    def fields(self, value: float, times: int) -> Iterable[tuple[str, float]]:
        """The fields that a value adds to, and how much."""
        index = bisect_left(self.buckets, value)
        bound = repr(self.buckets[index]) if index < len(self.buckets) else "+Inf"
        return (f"{self.name}|{bound}", times), (f"{self.name}|sum", value * times), (f"{self.name}|count", times)

    def read(self, counted: Mapping[str, float]) -> tuple[list[tuple[str, float]], float]:
        """Bounds with how many values lie up to each, and the sum of all values."""
        cumulative, total = [], 0.0
        for bound in (*map(repr, self.buckets), "+Inf"):
            total += counted.get(f"{self.name}|{bound}", 0)
            cumulative.append((bound, total))
        return cumulative, counted.get(f"{self.name}|sum", 0)


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is so now, read at each scrape."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


Declared = Counter | Histogram | Gauge


# The way of an event.
EVENTS = Counter("challenge_event_handler_events_total", "Events received, accepted or not")
EVENTS_ACCEPTED = Counter("questline_events_accepted_total", "Events accepted")
EVENTS_REJECTED = Counter("questline_events_rejected_total", "Events refused, by reason", "code")
EVENTS_IGNORED = Counter("questline_events_ignored_total", "Events of other namespaces, acknowledged and ignored")
REQUESTS_REFUSED = Counter(
    "questline_requests_refused_total", "Requests their caller may not make, by reason", "reason", tuple(Refused)
)
REQUESTS_OVERLOADED = Counter(
    "questline_requests_overloaded_total",
    "Requests refused because a bound was reached, by bound",
    "bound",
    tuple(Bound),
)
COMMIT_SECONDS = Histogram("questline_commit_seconds", "Duration of a group commit into the journal")
PUBLISH_FAILURES = Counter(
    "questline_publish_failures_total", "Of releases up to 0.2: batches that the broker did not take"
)
QUEUE_LENGTH = Gauge("questline_queue_length", "Batches queued, by shard", ("shard",))
JOURNAL_BATCHES = Gauge("questline_journal_batches", "Accepted batches not applied yet")
JOURNAL_BYTES = Gauge("questline_journal_bytes", "Size of accepted batches not applied yet")
JOURNAL_OLDEST = Gauge(
    "questline_journal_oldest_seconds",
    "Age of the oldest accepted batch not applied yet, whether it waits for a worker or for its next attempt",
)
JOURNAL_WAITING = Gauge(
    "questline_journal_waiting_seconds",
    "How long batches have been ready in a shard without a worker that takes any: what JOURNAL_MAX_AGE bounds",
)
EVENTS_PROCESSED = Counter("challenge_event_handler_events_processed_total", "Distinct events applied")
EVENTS_DUPLICATE = Counter("questline_events_duplicate_total", "Events that had been applied before")
EVENTS_FAILED = Counter(
    "challenge_event_handler_events_failed_total", "Events that were accepted but could not be processed"
)
PROCESSING_SECONDS = Histogram(
    "challenge_event_handler_event_processing_duration_seconds", "Time a worker spends on an event"
)
APPLY_LATENCY = Histogram("questline_apply_latency_seconds", "From accepted to applied, so readable")
UNLOCKS = Counter("questline_unlocks_total", "Goals completed")
USERS_LOADED = Counter("questline_users_loaded_total", "Records loaded from PostgreSQL")
USERS_EVICTED = Counter("questline_users_evicted_total", "Clean records taken out of Redis for lack of memory")
BATCHES_POSTPONED = Counter("questline_batches_postponed_total", "Batches put back for a passing fault", "error")
BATCHES_REPUBLISHED = Counter("questline_batches_republished_total", "Batches given to a worker again")
PLANS_REFUSED = Counter(
    "questline_plans_refused_total", "Plans refused for rules that were published since they were read"
)
RETRIES = Counter(
    "questline_retries_total",
    "Calls tried again after a passing fault, by reason",
    "reason",
    tuple(error.__name__ for error in SERVER_AWAY),
)

# What was given up.
DEAD_LETTERS = Counter("questline_dead_letters_total", "Dead letters written, by reason", "reason", tuple(Reason))
DEAD_LETTER_DEPTH = Gauge("questline_dead_letter_depth", "Dead letters", ("kind", "reason"))
DEAD_LETTERS_COUNTED = Gauge(
    "questline_dead_letters_counted_seconds",
    "Age of that count, which each sweep renews, +Inf before the first: beat, maintenance, the broker or PostgreSQL is "
    "away where it grows or stays so",
)
EVENTS_REDRIVEN = Counter("questline_events_redriven_total", "Events of dead letters that were accepted again")

# The flush.
FLUSH_SECONDS = Histogram("challenge_event_handler_flush_duration_seconds", "Duration of a flush transaction")
FLUSH_ROWS = Histogram("challenge_event_handler_db_batch_size", "Progress rows of a flush transaction", _SIZES)
FLUSH_LAG = Histogram("questline_flush_lag_seconds", "From the oldest unflushed change to its commit, by transaction")
FLUSHED_ROWS = Counter("questline_flushed_rows_total", "Progress rows written to PostgreSQL")
FLUSHED_EVENTS = Counter("questline_flushed_events_total", "Events written to PostgreSQL")
BUFFER_SIZE = Gauge("challenge_event_handler_buffer_size", "Users with changes PostgreSQL does not have yet")
DIRTY_USERS = Gauge("questline_dirty_users", "Users with changes PostgreSQL does not have yet")
FLUSH_WAITING = Gauge("questline_flush_waiting_seconds", "Age of the oldest change PostgreSQL does not have yet")
LOG_BYTES = Gauge("questline_log_bytes", "Size of applied batches PostgreSQL does not have yet")

# The stores.
DATABASE_BEHIND = Gauge(
    "questline_database_behind",
    "Shards closed because PostgreSQL went back in time; `questline recover` opens them",
)
HISTORY_RESETS = Counter(
    "questline_state_history_resets_total", "Shards reset after Redis or PostgreSQL went back in time"
)
STATE_MEMORY = Gauge("questline_state_memory_bytes", "Memory that the state Redis uses")
STATE_MEMORY_LIMIT = Gauge(
    "questline_state_memory_limit_bytes", "Its maxmemory; 0 where there is none, or where we may not ask"
)
STATE_UP = Gauge(
    "questline_state_up",
    "Whether the state Redis answers; while it does not, there are no metrics but this and the build's",
)
BROKER_UP = Gauge("questline_broker_up", "Whether the broker answers; while it does not, no length of a queue is told")

# The fleet.
INSTALLATION = Gauge(
    "questline_installation_info",
    "1, with the settings that all processes share and the installation's id as labels",
    ("installation_id", "..."),
)
INSTALLATION_CHANGING = Gauge(
    "questline_installation_changing",
    "Whether a change of the shared settings is under way, during which no event is accepted",
)
PROCESSES = Gauge("questline_processes", "Processes alive", ("role", "release"))
PROCESSES_DIFFERING = Gauge(
    "questline_processes_differing",
    "Processes alive that go by other shared settings than the installation; they end by themselves",
)
BUILD = Gauge("questline_build_info", "Release of this process; always 1", ("version", "python"))

DECLARED: tuple[Declared, ...] = tuple(
    value for value in tuple(globals().values()) if isinstance(value, Counter | Histogram | Gauge)
)
"""All of them, in the order of this page."""
COUNTED: tuple[Counter | Histogram, ...] = tuple(
    metric
    for metric in DECLARED
    if not isinstance(metric, Gauge) and metric not in (EVENTS_PROCESSED, EVENTS_DUPLICATE)
)
"""Those that processes push. The script that applies events counts those two itself, by shard."""
