"""Celery's beat, which sends no tick while nobody takes them.

A tick that is too old is dropped, but only when a worker takes it: without one the queue would grow by a message a
second for as long as that lasts.
"""

from typing import Any

import structlog
from celery.beat import PersistentScheduler
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from config.shards import MAINTENANCE_QUEUE
from worker.queues.broker import MAX_TICKS

log = structlog.get_logger()


class BoundedScheduler(PersistentScheduler):
    """The stock scheduler with a bound on the queue that its tasks go to."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a due task, unless ``MAX_TICKS`` wait already; the next tick does all the work of this one."""
        if _waiting(producer) >= MAX_TICKS:
            log.warning("tick_left_out", task=entry.task)
            return
        super().apply_entry(entry, producer=producer)

    def sync(self) -> None:
        """Write down when each task was last sent; a disk that is full must not stop the clock."""
        try:
            super().sync()
        except OSError as error:
            log.warning("schedule_not_written", error=str(error))


def _waiting(producer: Any) -> int:
    try:
        waiting: int = producer.channel.client.llen(MAINTENANCE_QUEUE)
    except (RedisError, KombuError, OSError):  # sending will say better what is wrong, and try again
        return 0
    return waiting
