"""Frees memory of the state Redis at its ``maxmemory``, where no flush can run.

Evicting is the flush's business, for what was just flushed may go, and while PostgreSQL is away clean records are worth
more than room. This thread of the maintenance worker does it when there is next to no room left, whatever the reason.
"""

import structlog

from config.settings import Settings
from models.pollers import Poller
from models.state.connection import connect_state
from models.state.metrics import Metrics
from tasks.flush.eviction import Marks
from worker.parts import make_evictor

URGENT = Marks(begin=0.93, end=0.88)
"""From where the receiver takes nothing to where it takes most again."""
_INTERVAL_S = 0.5

log = structlog.get_logger()


def memory_watch(settings: Settings) -> Poller:
    """The thread; contacts no server before it is started."""
    redis = connect_state(settings.state)
    metrics = Metrics(redis)
    evictor = make_evictor(settings, redis, metrics, URGENT)

    def poll() -> None:
        if evictor.relieve():
            metrics.push()

    return Poller(
        "memory",
        poll,
        _INTERVAL_S,
        failed=lambda error: log.debug("memory_not_read", error=str(error)),
        broke=lambda error: log.error("memory_watch_broke", exc_info=error),
    )
