"""Refuses events before the state Redis reaches its ``maxmemory``.

Past that limit Redis refuses all writes. From ``SHORT`` on the tenants that fill it are refused, by new users or by
what waits for workers and for PostgreSQL; from ``FULL`` on all are, which leaves room for what is under way: applying,
flushing, evicting. Apart from that a tenant may have so many new users an hour (``NEW_USERS_PER_HOUR``); past it only
events of users that Redis has are taken.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Protocol

from models.errors import Bound, NotReadyError
from models.state.checks.memory import StateMemory
from models.state.queue.batches import Appended, Batch

SHORT, FULL = 0.85, 0.93
"""Of the memory limit, with what is accepted and not applied yet: for the first as it may become, for the second as it
becomes at least."""
FRESH_SECONDS = 0.1
"""How long an answer about memory counts, and one about tenants while it is short; else ten times as long."""
LEAST_USERS = 50
LEAST_PART = 0.01
"""A tenant with fewer new users in an hour, and a smaller part of the limit in what waits, is never taken for one that
fills the memory."""


def above_share(numbers: Mapping[str, int], least: float) -> set[str]:
    """The tenants with more than ``least`` and than an even share of all, where one share is kept free for others."""
    share = sum(numbers.values()) / (len(numbers) + 1)
    return {tenant_id for tenant_id, number in numbers.items() if number > max(share, least)}


class BatchJournal(Protocol):
    """What makes batches durable."""

    def append(self, batches: Sequence[Batch], now_ms: int) -> Appended:
        """Write batches at a time in milliseconds; raises StateUnavailableError."""
        ...


class MemoryReadings(Protocol):
    """What is known of the memory of the state Redis, and of the tenants that fill it; each raises
    StateUnavailableError.
    """

    def memory(self) -> StateMemory:
        """How much is used."""
        ...

    def new_users(self) -> Mapping[str, int]:
        """New users of the last hour by tenant."""
        ...

    def held(self) -> Mapping[str, int]:
        """Bytes that wait by tenant."""
        ...

    def has_users_of(self, batch: Batch) -> bool:
        """Whether Redis has all users of a batch."""
        ...


@dataclass(slots=True)
class MemoryGuard:
    """Stands before the journal. Used by one thread to append, and by others to ask how it stands."""

    journal: BatchJournal
    readings: MemoryReadings
    quota: int
    """New users of a tenant in an hour; 0 for any number."""
    clock: Callable[[], float] = monotonic
    _lock: Lock = field(default_factory=Lock)
    _memory: StateMemory = field(default_factory=lambda: StateMemory(0, 0, 0))
    _lately: Mapping[str, int] = field(default_factory=dict)
    _memory_at: float = float("-inf")
    _lately_at: float = float("-inf")

    def append(self, batches: Sequence[Batch], now_ms: int) -> Appended:
        """Journal what may be taken.

        Raises:
            StateUnavailableError: the state Redis did not answer; what was written is not known.
        """
        refused = self._refused(batches)
        if not refused:
            return self.journal.append(batches, now_ms)
        turned_away = {batch.batch_id for batch, _ in refused}
        taken = [batch for batch in batches if batch.batch_id not in turned_away]
        appended = self.journal.append(taken, now_ms) if taken else Appended([])
        return appended._replace(refused=[*appended.refused, *refused])

    def check(self) -> None:
        """Whether memory is short.

        Raises:
            NotReadyError: requests are refused for it.
            StateUnavailableError: the state Redis did not answer.
        """
        memory = self._poll()
        used = f"{memory.part_used:.0%} of the maxmemory of the state Redis is used"
        if memory.part_certain >= FULL:
            raise NotReadyError(f"{used}, and more is on its way: nothing is accepted")
        if memory.part_promised >= SHORT:
            raise NotReadyError(f"{used}, and more is on its way: who fills it is refused")

    def _refused(self, batches: Sequence[Batch]) -> list[tuple[Batch, Bound]]:
        memory = self._poll(sum(len(batch.packed) for batch in batches))
        if memory.part_certain >= FULL:
            return [(batch, Bound.STATE_MEMORY) for batch in batches]
        is_short = memory.part_promised >= SHORT
        if not is_short and not self.quota:
            return []
        lately = self._tenants(FRESH_SECONDS if is_short else 10 * FRESH_SECONDS)
        short: set[str] = set()
        if is_short:
            short = above_share(lately, LEAST_USERS) | above_share(self.readings.held(), LEAST_PART * memory.limit)
        spent = {name for name, number in lately.items() if self.quota and number >= self.quota}
        if not short and not spent:
            return []
        return [(batch, bound) for batch in batches if (bound := self._bound(batch, short, spent)) is not None]

    def _bound(self, batch: Batch, short: Collection[str], spent: Collection[str]) -> Bound | None:
        if batch.tenant_id in short:
            return Bound.TENANT_STATE_MEMORY
        if batch.tenant_id in spent and not self.readings.has_users_of(batch):
            return Bound.NEW_USERS
        return None

    def _poll(self, more: int = 0) -> StateMemory:
        """The memory, with so many bytes more accepted; asked anew where it may have become short since."""
        with self._lock:
            known = self._memory
            self._memory = known._replace(waiting=known.waiting + more)
            if self.clock() - self._memory_at >= FRESH_SECONDS or self._memory.part_promised >= SHORT:
                self._memory = self.readings.memory()
                self._memory_at = self.clock()
            return self._memory

    def _tenants(self, fresh_seconds: float) -> Mapping[str, int]:
        with self._lock:
            if self.clock() - self._lately_at >= fresh_seconds:
                self._lately = self.readings.new_users()
                self._lately_at = self.clock()
            return self._lately
