"""The schedule of faults, drawn from a seed. Pure."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple, Protocol

from tools.chaos.faults.fault import Category

WIPE = "redis-wiped"
"""Redis loses everything at a time when nothing is on its way. It is no fault among others: it needs quiet."""
_GAPS: dict[Category, tuple[float, float]] = {Category.PROCESSES: (0.3, 2.0), Category.SERVERS: (3.0, 9.0)}
"""Seconds from the healing of one fault to the next of its category."""
_LONGEST_SHARE = 8
"""No fault is held for more than this part of the run."""
_WIPE_EVERY = 60.0


class Breakable(Protocol):
    """What a schedule must know of a fault."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def category(self) -> Category:
        """What it must not meet itself in."""
        ...

    @property
    def hold(self) -> tuple[float, float]:
        """The least and the most seconds it lasts."""
        ...


class Step(NamedTuple):
    """A fault with its time, in seconds since the start."""

    at: float
    name: str
    until: float
    """When it is healed."""
    seed: int
    """Draws what the fault leaves open."""


def draw_schedule(seed: int, seconds: float, faults: Collection[Breakable], *, wipes: bool = True) -> list[Step]:
    """A schedule of so many seconds, in order of time. Each fault comes once before any of its category comes again.

    ``wipes``: whether Redis is wiped as well; the other steps are the same without.
    """
    random = Random(seed)  # noqa: S311 - drawn to be the same again; nothing here is secret
    steps = [
        step
        for category in Category
        for step in _steps_of(
            random, seconds, [fault for fault in faults if fault.category is category], _GAPS[category]
        )
    ]
    if wipes:
        steps += _wipes(random, seconds)
    return sorted(steps)


def _steps_of(random: Random, seconds: float, faults: Sequence[Breakable], gap: tuple[float, float]) -> Iterator[Step]:
    now = random.uniform(*gap)
    for fault in _decks(random, faults):
        least, most = fault.hold
        until = now + min(random.uniform(least, most), max(least, seconds / _LONGEST_SHARE))
        if until > seconds:
            return
        yield Step(now, fault.name, until, random.getrandbits(32))
        now = until + random.uniform(*gap)


def _decks(random: Random, faults: Sequence[Breakable]) -> Iterator[Breakable]:
    """All faults in a random order, again and again."""
    while faults:
        yield from random.sample(faults, len(faults))


def _wipes(random: Random, seconds: float) -> Iterator[Step]:
    """One in each stretch of time, at least one in all."""
    stretches = max(1, round(seconds / _WIPE_EVERY))
    edges = [seconds * part / stretches for part in range(stretches + 1)]
    for start, end in pairwise(edges):
        at = random.uniform(start, end)
        yield Step(at, WIPE, at, random.getrandbits(32))
