"""Shares of something that is bounded, so that whoever takes a lot of it leaves room for others.

An owner may hold at most ``Limit.SHARE`` times what is still free ("dynamic thresholds", Choudhury and Hahne 1998). One
that is alone takes four fifths; several that want all of it come to hold the same; an owner that holds little finds
room, however many there are. Nothing is reserved for an owner that is not here. ``append_journal.lua`` goes by the same
rule.
"""

from collections import Counter

from models.wire import Limit


class Shares:
    """What owners hold of one bounded thing. Its user sees to it that one thread at a time is at it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._held: Counter[str] = Counter()

    def of(self, owner: str) -> int:
        """How much an owner holds."""
        return self._held[owner]

    def is_full(self, amount: int) -> bool:
        """Whether so much more is more than there is, whoever wants it."""
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
