"""Turns and shares of bounded things, so that one owner leaves room for others."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from typing import Generic, TypeVar

from models.wire import Limit

T = TypeVar("T")


class Shares:
    """What owners hold of one bounded thing. Its user sees to it that one thread at a time is at it.

    An owner may hold at most ``Limit.SHARE`` times what is still free ("dynamic thresholds", Choudhury and Hahne 1998).
    One that is alone takes four fifths; several that want all of it come to hold the same; an owner that holds little
    finds room, however many there are. Nothing is reserved for an owner that is not here. Shards go by the same rule.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._held: Counter[str] = Counter()

    def of(self, owner: str) -> int:
        """How much an owner holds."""
        return self._held[owner]

    def is_full(self, amount: int) -> bool:
        """Whether so much more is more than there is."""
        return self.held + amount > self.limit

    def is_past_share(self, owner: str, amount: int) -> bool:
        """Whether so much more is more than this owner's share."""
        return self._held[owner] + amount > Limit.SHARE * (self.limit - self.held - amount)

    def take(self, owner: str, amount: int) -> None:
        """Hold so much more, whatever the bounds say."""
        self.held += amount
        self._held[owner] += amount

    def give_back(self, owner: str, amount: int) -> None:
        """Hold so much less."""
        self.held -= amount
        self._held[owner] -= amount
        if not self._held[owner]:  # owners come and go
            del self._held[owner]


class FairQueue(Generic[T]):
    """Items by owner, which take turns. Its user sees to it that one thread at a time is at it.

    Start-time fair queueing (Goyal, Vin and Chen 1996), as shards have it: an item's turn begins where its owner's last
    one ended, but not before the virtual time, which is the turn of the item that was taken last. An owner's items keep
    their order. Nothing is remembered of owners once the queue is empty.
    """

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


class Turns:
    """Permits for so many at once, for one event loop.

    A sender with a thousand connections has a thousand requests here at a time. All at once they would make everybody
    wait for all of them at each step of the event loop. So some are worked on, each owner's share of them, and the rest
    waits; what waits goes round by owners, not by order of arrival.
    """

    def __init__(self, permits: int) -> None:
        self._shares = Shares(permits)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By owner, whose turn is next first."""

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Hold a permit, once it is the owner's turn to have one."""
        await self.take(owner)
        try:
            yield
        finally:
            self.give_back(owner)

    async def take(self, owner: str) -> None:
        """Wait for a permit, which ``give_back`` ends."""
        if self._waiting or not self._has_permit(owner):
            await self._wait(owner)
        else:
            self._shares.take(owner, 1)

    async def _wait(self, owner: str) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(waiter)
        self._hand_out()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it was handed a permit at the same time
                self.give_back(owner)
            raise

    def give_back(self, owner: str) -> None:
        """Give a permit to the next owner."""
        self._shares.give_back(owner, 1)
        self._hand_out()

    def _hand_out(self) -> None:
        while (owner := next(filter(self._has_permit, self._waiting), None)) is not None:
            self._hand_to(owner)

    def _hand_to(self, owner: str) -> None:
        waiters = self._waiting.pop(owner)
        waiter = waiters.popleft()
        if not waiter.cancelled():
            self._shares.take(owner, 1)
            waiter.set_result(None)
        if waiters:
            self._waiting[owner] = waiters  # at the end

    def _has_permit(self, owner: str) -> bool:
        shares = self._shares
        return not shares.held or not (shares.is_full(1) or shares.is_past_share(owner, 1))
