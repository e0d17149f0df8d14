"""Turns at work of which only so much is done at once: what waits goes round by owners, not by who came first.

A sender with a thousand connections has a thousand requests here at a time. All at once they would make everybody wait
for all of them at each step of the event loop. So some are worked on,
each owner's share of them (``models.fairness.shares``),
and the rest waits.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models.fairness.shares import Shares


class Turns:
    """Places for so many at once. For one event loop."""

    def __init__(self, places: int) -> None:
        self._shares = Shares(places)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By owner, whose turn is next first."""

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Hold a place, once it is the owner's turn to have one."""
        await self.take(owner)
        try:
            yield
        finally:
            self.give_back(owner)

    async def take(self, owner: str) -> None:
        """Wait for a place, which ``give_back`` ends."""
        if self._waiting or not self._has_place(owner):
            await self._wait(owner)
        else:
            self._shares.take(owner, 1)

    async def _wait(self, owner: str) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        self._hand_out()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was handed a place in the same moment
                self.give_back(owner)
            raise

    def give_back(self, owner: str) -> None:
        """Give a place to whoever is next."""
        self._shares.give_back(owner, 1)
        self._hand_out()

    def _hand_out(self) -> None:
        while (owner := next(filter(self._has_place, self._waiting), None)) is not None:
            self._hand_to(owner)

    def _hand_to(self, owner: str) -> None:
        places = self._waiting.pop(owner)
        place = places.popleft()
        if not place.cancelled():
            self._shares.take(owner, 1)
            place.set_result(None)
        if places:
            self._waiting[owner] = places  # at the end

    def _has_place(self, owner: str) -> bool:
        shares = self._shares
        return not shares.held or not (shares.is_full(1) or shares.is_past_share(owner, 1))
