"""A worker's share of the shards when workers come and go: how large it is, and how it gets there.

Every worker decides for itself, from what Redis tells all of them; nobody leads. Knows nothing of Celery: what it means
to consume a shard is handed in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from models.errors import StateUnavailableError
from models.state.fleet.leases import Leases

log = structlog.get_logger()


def fair_share(rank: int, workers: int, shards: int) -> int:
    """How many shards the worker of this rank takes, counted from 0: equal parts, the first few one more.

    The shares of all workers add up to all shards. A newcomer that ranks last makes no other share larger, and one
    that leaves makes none smaller: no shard moves between two workers that stay.
    """
    return shards // workers + (1 if rank < shards % workers else 0)


def candidates(free: Sequence[int], rank: int, workers: int) -> list[int]:
    """Free shards in the order in which this worker tries them: each begins elsewhere, so that they seldom collide."""
    start = rank * len(free) // workers
    return [*free[start:], *free[:start]]


@dataclass
class ShareHolder:
    """Holds one worker's share."""

    leases: Leases
    worker: str
    """Its name among the workers; names sort by the time they started, so that newcomers rank last."""
    shards: int
    ttl: timedelta
    begin: Callable[[int], None]
    """Starts to consume a shard."""
    end: Callable[[int], None]
    """Stops to consume a shard; the batch in hand may still end."""
    monotonic: Callable[[], float]
    held: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._renewed_at = self.monotonic()

    def tick(self) -> None:
        """Renew what is held, and come one step closer to the fair share."""
        before = set(self.held)
        try:
            self._renew()
            self._adjust(self.leases.join())
        except StateUnavailableError as error:
            log.warning("shard_leases_not_renewed", error=str(error))
            if self.monotonic() - self._renewed_at > self.ttl.total_seconds():
                self._end(self.held)  # others may have them by now
        self._tell(before)

    def leave(self) -> None:
        """Give everything back at once, for the others to take."""
        mine, before = set(self.held), set(self.held)
        self._end(mine)
        try:
            self.leases.leave()
            self.leases.release(mine)
        except StateUnavailableError as error:
            log.warning("shard_leases_not_renewed", error=str(error))
        self._tell(before)

    def _renew(self) -> None:
        asked_at = self.monotonic()
        kept = self.leases.hold(self.held)
        self._renewed_at = asked_at
        self._end(self.held - kept)

    def _adjust(self, alive: list[str]) -> None:
        rank = alive.index(self.worker)
        share = fair_share(rank, len(alive), self.shards)
        surplus = sorted(self.held)[share:]
        if surplus:
            # The queue first: a lease that is free must mean that its holder takes nothing more.
            self._end(surplus)
            self.leases.release(surplus)
        elif len(self.held) < share:
            # A lease of its own that it does not count as held is left from a time when it could not renew.
            free = [shard for shard in self.leases.free() if shard not in self.held]
            self._take(candidates(free, rank, len(alive)), share)

    def _take(self, free: list[int], share: int) -> None:
        while free and len(self.held) < share:
            missing = share - len(self.held)
            wanted, free = free[:missing], free[missing:]
            for shard in sorted(self.leases.hold(wanted)):
                self.begin(shard)  # if the broker does not answer, the lease is free to us at the next tick
                self.held.add(shard)

    def _end(self, shards: "set[int] | list[int]") -> None:
        for shard in sorted(shards):
            self.held.discard(shard)
            self.end(shard)

    def _tell(self, before: set[int]) -> None:
        if self.held != before:
            taken, given = sorted(self.held - before), sorted(before - self.held)
            log.info("shard_leases_changed", taken=taken, given=given, held=sorted(self.held))
