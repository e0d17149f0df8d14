"""``questline worker --shards auto``: a step of Celery's consumer that consumes the shards this worker has leases of.

It runs in the worker's main process, in its event loop: every second it renews and adjusts the worker's share. When
the worker stops, it gives everything back before the batch in hand has ended.
"""

import time
from datetime import timedelta
from typing import Any

from celery import Celery, bootsteps

from config.settings import Settings
from config.shards import queue_for
from models.state.connection import connect_state
from models.state.fleet.leases import Leases
from worker.partition_assignment import ShareHolder

AUTO = "auto"
"""What ``--shards`` says for this."""
TICK_SECONDS = 1.0
LEASE_TTL = timedelta(seconds=10)
"""After so long the shards of a worker that was killed are free for others."""
_SOCKET_TIMEOUT = 2.0
"""Seconds that a Redis which hangs may hold the worker's event loop at a tick."""


def lease_shards(app: Celery, settings: Settings, name: str) -> None:
    """Make a worker of this app take its shards by lease, under a name that no other worker has.

    The worker must be started with all shards' queues excluded.
    """
    worker = f"{time.time_ns() // 1_000_000:013d} {name}"

    class Step(_LeaseStep):
        """The step for this worker: Celery makes an instance of a class that it is given."""

        holder = _make_holder(settings, worker)

    app.steps["consumer"].add(Step)


def _make_holder(settings: Settings, worker: str) -> ShareHolder:
    redis = connect_state(settings.state, socket_timeout=_SOCKET_TIMEOUT)
    leases = Leases(redis, worker, shards=settings.shards, ttl=LEASE_TTL)
    return ShareHolder(
        leases,
        worker,
        shards=settings.shards,
        ttl=LEASE_TTL,
        begin=_not_started,
        end=_not_started,
        monotonic=time.monotonic,
    )


def _not_started(_shard: int) -> None:
    raise RuntimeError("the worker's consumer has not started")


class _LeaseStep(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer.tasks:Tasks",)
    holder: ShareHolder
    _timer: Any = None

    def start(self, parent: Any) -> None:
        """Take the first shards; also after a lost connection, when the consumer goes on with the queues it had."""
        self.holder.begin = lambda shard: parent.add_task_queue(queue_for(shard))
        self.holder.end = lambda shard: parent.cancel_task_queue(queue_for(shard))
        self.holder.tick()
        self._timer = parent.timer.call_repeatedly(TICK_SECONDS, self.holder.tick)

    def stop(self, parent: Any) -> None:
        """Give the shards back if the worker ends; keep them where it only connects again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if parent.blueprint.state in {bootsteps.CLOSE, bootsteps.TERMINATE}:  # type: ignore[attr-defined]  # not in the stub
            self.holder.leave()

    terminate = stop
