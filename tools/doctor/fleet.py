"""Checks of the processes: beat, workers of every shard, and waiting times."""

from collections.abc import Iterator
from datetime import timedelta

from api.health.path_texts import spelled
from config.shards import MAINTENANCE_QUEUE, queue_for
from models.secrets import without_passwords
from models.state.fleet.heartbeats import Heartbeats
from models.state.fleet.path_state import PathState
from tasks.definitions import FLUSH, SWEEP
from tools.doctor.registry import Installation, Remark, check, error, ok, warning
from worker.parts import make_journal, make_records

_INSPECT_SECONDS = 3.0
_LATE_HEARTBEATS = 5
_SHORTEST = timedelta(seconds=15)
"""A tick may be this late however often it comes: a flush may take some seconds."""

_ON_ITS_WAY = timedelta(seconds=10)
"""A probe that waits no longer than this tells of no fault."""
_PATIENCE = timedelta(seconds=60)
"""How long a batch may wait before that is a finding."""


@check("beat", "flush and sweep began in time: beat ticks, and a maintenance worker takes the ticks")
def beat(installation: Installation) -> Iterator[Remark]:
    """The periodic tasks run."""
    settings = installation.settings
    intervals = {FLUSH: settings.buffer_flush_interval, SWEEP: settings.journal_sweep_interval}
    heartbeats = Heartbeats(installation.state).read()
    for task, interval in intervals.items():
        at = heartbeats.get(task)
        age = None if at is None else timedelta(microseconds=installation.now_us() - at)
        if age is None or age > max(_SHORTEST, _LATE_HEARTBEATS * interval):
            since = "has never run" if age is None else f"ran last {_seconds(age)} ago"
            yield error(f"{task} {since}", _who_is_missing(installation))
        else:
            yield ok(f"{task} ran {_seconds(age)} ago")


@check("workers", "a worker takes every shard, and one the maintenance")
def workers(installation: Installation) -> Iterator[Remark]:
    """Every queue has a consumer."""
    installation.broker.ping()  # Celery would try for longer than a doctor may take
    found = installation.app.control.inspect(timeout=_INSPECT_SECONDS).active_queues() or {}
    taken = {queue["name"] for queues in found.values() for queue in queues}
    missing = [shard for shard in range(installation.settings.shards) if queue_for(shard) not in taken]
    if missing:
        yield error(
            f"no worker takes {len(missing)} of {installation.settings.shards} shards, the first is {missing[0]}",
            "Start `questline worker`, or give workers the missing shards.",
        )
    if MAINTENANCE_QUEUE not in taken:
        yield error("no worker takes the maintenance", "Start `questline worker --maintenance`.")
    if not missing and MAINTENANCE_QUEUE in taken:
        yield ok(f"{len(found)} workers take every shard and the maintenance")


@check("journal", "how long accepted batches wait, for a worker or for their next attempt")
def journal(installation: Installation) -> Iterator[Remark]:
    """What is accepted is applied."""
    settings = installation.settings
    states = make_journal(settings, installation.state).states(settings.shards)
    waiting, now_ms = sum(state.batches for state in states), installation.now_us() // 1000
    ready, oldest = (
        timedelta(milliseconds=now_ms - min((since for since in times if since), default=now_ms))
        for times in ([state.ready_ms for state in states], [state.oldest_ms for state in states])
    )
    if ready > _PATIENCE:
        # Past JOURNAL_MAX_AGE the shard is closed. What a worker took closes none, however old it is.
        level = error if ready > settings.journal_max_age else warning
        said = f"{waiting:,} batches wait, the oldest for {_seconds(ready)} for a worker"
        yield level(said, "Look whether every shard has a worker, and whether it is too slow.")
    elif oldest > _PATIENCE:
        yield warning(
            f"{waiting:,} batches wait, the oldest, which a worker took, for {_seconds(oldest)}",
            "Look in the workers' logs for batch_failed or batches_postponed, and whether PostgreSQL answers.",
        )
    else:
        yield ok(f"{waiting:,} batches wait, the oldest for {_seconds(oldest)}" if waiting else "nothing waits")


@check("flush-lag", "how long changes wait for PostgreSQL")
def flush_lag(installation: Installation) -> Iterator[Remark]:
    """What is applied is written."""
    shards = installation.settings.shards
    records = make_records(installation.settings, installation.state)
    since, dirty = records.oldest_change(shards), sum(records.dirty_counts(shards))
    age = timedelta(microseconds=installation.now_us() - since) if since else timedelta()
    said = f"{dirty:,} users wait, the first for {_seconds(age)}" if dirty else "PostgreSQL has everything"
    advice = "Look whether PostgreSQL answers, and in the maintenance worker's log for flush_put_off."
    if age > timedelta(minutes=5):
        yield error(said, advice)
    else:
        yield warning(said, advice) if age > timedelta(seconds=30) else ok(said)


@check("path", "a probe of a receiver goes the whole way, from the journal to PostgreSQL")
def path(installation: Installation) -> Iterator[Remark]:
    """An event that is accepted counts."""
    report = PathState(installation.state, installation.settings.max_lateness).report()
    if report is None:
        yield warning("no receiver has sent a probe yet", "Start `questline receiver`.")
        return
    age = timedelta(microseconds=installation.now_us() - report.at_us)
    if age > _PATIENCE:
        yield warning(f"the last probe is {_seconds(age)} old", "Start `questline receiver`, or look for probe_broke.")
    elif report.station and installation.now_us() - report.since_us < _ON_ITS_WAY // timedelta(microseconds=1):
        yield ok("a probe is on its way")
    elif report.station:
        said = without_passwords(f"{spelled(report)}: {report.error}" if report.error else spelled(report))
        yield error(said, "Look at the station: docs/reference/health-checks.md has what each of them needs.")
    else:
        yield ok(f"a probe went the whole way {_seconds(age)} ago")


def _who_is_missing(installation: Installation) -> str:
    """Ticks that no worker takes stay in their queue; without beat there are none."""
    if installation.broker.llen(MAINTENANCE_QUEUE):
        return "Ticks are waiting: start `questline worker --maintenance`, or look why it is stuck."
    return "No ticks are waiting: start `questline beat`."


def _seconds(age: timedelta) -> str:
    return f"{max(0.0, age.total_seconds()):,.0f} s"
