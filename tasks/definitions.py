"""The Celery tasks: thin, named, acknowledged late, over plain functions.

Every task takes unknown keyword arguments, so that a newer sender may run beside an older worker.
"""

from time import time_ns
from typing import Any

import structlog
from celery import shared_task

from models.errors import RetryableError
from models.fleet.probes import Station
from models.state.queue.batches import TakenBatch
from tasks.apply.applier import ShardWork
from tasks.dead_letters import writer
from tasks.runtime import runtime

FLUSH = "questline.flush"
APPLY_EVENTS = writer.APPLY_EVENTS
SWEEP = "questline.sweep"
MAKE_PARTITIONS = "questline.make_partitions"
DROP_PARTITIONS = "questline.drop_partitions"

RETRY_DELAY = 1
"""Seconds until a task whose child process was killed is tried again. Celery's own 180 would outlast the broker's
visibility timeout, and the message would come back while it still waits."""

log = structlog.get_logger()


# What counts is the acknowledgement in the script: whatever is not applied comes again from its stream.
@shared_task(  # type: ignore[call-overload, untyped-decorator]  # the stubs leave options out
    name=APPLY_EVENTS, ignore_result=True, acks_late=True, retry_on_worker_lost=False, reject_on_worker_lost=False
)
def apply_events(shards: list[Any], **_newer: Any) -> None:
    """Apply what was read of some shards: ``tasks.broker.transport`` makes the message."""
    runtime().applier.work([ShardWork(shard, [TakenBatch(*batch) for batch in batches]) for shard, batches in shards])


@shared_task(name=FLUSH, ignore_result=True, acks_late=True, default_retry_delay=RETRY_DELAY)
def flush(**_newer: Any) -> None:
    """Drain what changed into PostgreSQL; the next tick goes on where a fault stopped this one."""
    try:
        runtime().flusher.flush()
    except RetryableError as error:
        log.warning("flush_put_off", error=str(error))
        runtime().path.note_fault(Station.FLUSH, error, time_ns() // 1000)


@shared_task(name=SWEEP, ignore_result=True, acks_late=True, default_retry_delay=RETRY_DELAY)
def sweep(**_newer: Any) -> None:
    """Take up what a former release accepted, and make dead letters of what workers kept aside."""
    parts = runtime()
    for step in (parts.rules.align_fences, parts.former_journal.take_up, parts.undeliverable.drain):
        try:
            step()
        except RetryableError as error:
            log.warning("sweep_put_off", step=step.__name__, error=str(error))
    try:
        parts.dead_letters.refresh()
    except RetryableError as error:
        log.warning("dead_letters_not_counted", error=str(error))


@shared_task(name=MAKE_PARTITIONS, ignore_result=True, acks_late=True, default_retry_delay=RETRY_DELAY)
def make_partitions(**_newer: Any) -> None:
    """Make the partitions of events and evaluations for the days ahead."""
    try:
        runtime().partitions.make()
    except RetryableError as error:
        log.warning("partitions_put_off", error=str(error))


@shared_task(name=DROP_PARTITIONS, ignore_result=True, acks_late=True, default_retry_delay=RETRY_DELAY)
def drop_partitions(**_newer: Any) -> None:
    """Drop the partitions that are older than ``EVENT_RETENTION``; the next tick drops what this one could not."""
    try:
        runtime().partitions.drop()
    except RetryableError as error:
        log.warning("partitions_put_off", error=str(error))
