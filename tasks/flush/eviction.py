"""Evicts clean records before the state Redis reaches its ``maxmemory``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

import structlog

from models.declarations.metrics import USERS_EVICTED
from models.state.checks.memory import MemoryGauge
from models.state.metrics import Metrics
from models.state.progress.evictions import Evictions


class Marks(NamedTuple):
    """The parts of the memory limit at which evicting begins, and ends."""

    begin: float = 0.75
    end: float = 0.70


SECONDS = 0.5
"""How long it may take at a time: the flush, which makes records evictable, waits for it."""
FRUITLESS = 3
"""After so many rounds without a record that may go there is none, as far as samples tell."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Evictor:
    """Evicts records while memory is short."""

    memory: MemoryGauge
    evictions: Evictions
    metrics: Metrics
    marks: Marks = field(default_factory=Marks)
    clock: Callable[[], float] = monotonic

    def relieve(self) -> int:
        """Evict until enough is free; tells how many users' records went.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        if self.memory.read().part_used < self.marks.begin:
            return 0
        until, total, fruitless = self.clock() + SECONDS, 0, 0
        while fruitless < FRUITLESS and self.clock() < until and self.memory.read().part_used > self.marks.end:
            evicted = self.evictions.evict()
            total += evicted
            fruitless = 0 if evicted else fruitless + 1
        if total:
            self.metrics.count(USERS_EVICTED, total)
            log.info("records_evicted", users=total, used=round(self.memory.read().part_used, 3))
        return total
