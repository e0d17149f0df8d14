"""A queue in which owners take turns: what one of them puts in by heaps does not delay the others.

Start-time fair queueing (Goyal, Vin and Chen 1996), as in ``append_journal.lua``: an item's turn begins where its
owner's last one ended, but not before the virtual time, which is the turn of the item that was taken last. An owner's
items keep their order. Nothing is remembered of owners once the queue is empty.
"""

from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by owner. Its user sees to it that one thread at a time is at it."""

    def __init__(self) -> None:
        self._items: list[tuple[float, int, T]] = []
        self._ends: dict[str, float] = {}
        self._virtual = 0.0
        self._number = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, owner: str, item: T, cost: float = 1.0) -> None:
        """Add an item, which takes up so much of its owner's turns."""
        turn = max(self._virtual, self._ends.get(owner, 0.0))
        self._ends[owner] = turn + cost
        self._number += 1
        heappush(self._items, (turn, self._number, item))

    def peek(self) -> T:
        """The item whose turn it is, which stays. There must be one."""
        return self._items[0][2]

    def take(self) -> T:
        """Remove the item whose turn it is. There must be one."""
        turn, _, item = heappop(self._items)
        self._virtual = max(self._virtual, turn)
        if not self._items:
            self._ends.clear()
        return item
