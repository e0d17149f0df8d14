"""Celery's beat: one of several sends ticks, and none while no worker takes them.

Each loop of the scheduler, at least one a second, renews a lease before anything is sent. A beat that does not get it
stands by. A tick that is too old is dropped, but only when a worker takes it: without one the queue would grow by a
message a second for as long as that lasts.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from celery.beat import PersistentScheduler
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from config.shards import MAINTENANCE_QUEUE
from models.errors import StateUnavailableError
from models.state.fleet.beat_lease import BeatLease
from tasks.broker.publisher import MAX_TICKS

LOOP_SECONDS = 1.0
"""The longest pause between two renewals of the lease."""

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


def leased_scheduler(lease: BeatLease, stands_by: Callable[[bool], None]) -> type[BoundedScheduler]:
    """The scheduler of a beat that sends only while it has the lease; Celery makes an instance of a class.

    ``stands_by`` is told whether it waits for another beat.
    """

    class LeasedScheduler(BoundedScheduler):
        """The scheduler of one beat."""

        _leads: bool | None = None

        def tick(self, *args: Any, **kwargs: Any) -> float:
            """Send what is due, if the lease is ours; returns the seconds until the next loop."""
            leads = self._hold()
            if leads is not self._leads and leads is not None:
                self._leads = leads
                stands_by(not leads)
                log.info("beat_leads" if leads else "beat_stands_by")
            pause: float = super().tick(*args, **kwargs) if leads else LOOP_SECONDS
            return min(pause, LOOP_SECONDS)

        def close(self) -> None:
            """Let a beat that stands by follow at once."""
            with suppress(StateUnavailableError):
                lease.release()
            super().close()

        def _hold(self) -> bool | None:
            try:
                return lease.hold()
            except StateUnavailableError as error:
                log.warning("beat_lease_not_renewed", error=str(error))
                return None  # nothing is sent: another one may have it by now, and no task could do its work

    return LeasedScheduler


def _waiting(producer: Any) -> int:
    try:
        waiting: int = producer.channel.client.llen(MAINTENANCE_QUEUE)
    except (RedisError, KombuError, OSError):  # sending will say better what is wrong, and try again
        return 0
    return waiting
