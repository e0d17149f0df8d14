"""What the receiver refuses so that the state Redis does not reach its ``maxmemory``, and for whom.

Past that limit Redis takes no write of anybody. So from ``SHORT`` on those tenants are refused whose new users fill it,
and from ``FULL`` on everybody, which leaves room for what is under way: applying, flushing, evicting. Apart from that a
tenant may have so many new users an hour (``NEW_USERS_PER_HOUR``); what comes beyond is refused, for users that Redis
has it goes on.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from models.errors import Bound, NotReadyError
from models.hot.batches import Appended, Batch
from models.hot.memory import StateMemory

SHORT, FULL = 0.85, 0.93
"""Of the memory limit, with what is accepted and not applied yet."""
FRESH_SECONDS = 0.1
"""How long an answer about memory counts, and one about tenants while it is short; else ten times as long."""
LEAST = 50
"""A tenant with fewer new users in an hour is never taken for the one that fills the memory."""


def filling(lately: Mapping[str, int]) -> set[str]:
    """The tenants whose new users are more than an even share, with one share kept free for others."""
    share = sum(lately.values()) / (len(lately) + 1)
    return {tenant_id for tenant_id, number in lately.items() if number > max(share, LEAST)}


@dataclass(slots=True)
class MemoryGuard:
    """Stands before the journal. Used by one thread to append, and by others to ask how it stands."""

    append_to_journal: Callable[[Sequence[Batch], int], Appended]
    memory: Callable[[], StateMemory]
    lately: Callable[[], Mapping[str, int]]
    """New users of the last hour by tenant. Both raise StateUnavailableError."""
    are_known: Callable[[Batch], bool]
    """Whether Redis has all users of a batch."""
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
            return self.append_to_journal(batches, now_ms)
        turned_away = {batch.batch_id for batch, _ in refused}
        taken = [batch for batch in batches if batch.batch_id not in turned_away]
        appended = self.append_to_journal(taken, now_ms) if taken else Appended([])
        return Appended(appended.to_publish, [*appended.refused, *refused])

    def check(self) -> None:
        """Whether memory is short.

        Raises:
            NotReadyError: requests are refused for it.
            StateUnavailableError: the state Redis did not answer.
        """
        part = self._look().part_promised
        if part >= FULL:
            raise NotReadyError(f"at {part:.0%} of the maxmemory of the state Redis: nothing is accepted")
        if part >= SHORT:
            raise NotReadyError(f"at {part:.0%} of the maxmemory of the state Redis: who fills it is refused")

    def _refused(self, batches: Sequence[Batch]) -> list[tuple[Batch, Bound]]:
        part = self._look().part_promised
        if part >= FULL:
            return [(batch, Bound.STATE_MEMORY) for batch in batches]
        is_short = part >= SHORT
        if not is_short and not self.quota:
            return []
        lately = self._tenants(FRESH_SECONDS if is_short else 10 * FRESH_SECONDS)
        short = filling(lately) if is_short else frozenset()
        spent = {name for name, number in lately.items() if self.quota and number >= self.quota}
        if not short and not spent:
            return []
        return [(batch, bound) for batch in batches if (bound := self._bound(batch, short, spent)) is not None]

    def _bound(self, batch: Batch, short: Collection[str], spent: Collection[str]) -> Bound | None:
        if batch.tenant_id in short:
            return Bound.TENANT_NEW_USERS
        if batch.tenant_id in spent and not self.are_known(batch):
            return Bound.NEW_USERS
        return None

    def _look(self) -> StateMemory:
        with self._lock:
            if self.clock() - self._memory_at >= FRESH_SECONDS:
                self._memory = self.memory()
                self._memory_at = self.clock()
            return self._memory

    def _tenants(self, fresh_seconds: float) -> Mapping[str, int]:
        with self._lock:
            if self.clock() - self._lately_at >= fresh_seconds:
                self._lately = self.lately()
                self._lately_at = self.clock()
            return self._lately
