"""A plan of events to send, drawn from a seed.

It is pure: the time and the run's name are passed in. Events are kept as columns of numbers, about 40 bytes
each, so that a plan of millions fits into memory and each event can be built again for the proof at the end.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from math import isnan, nan
from random import Random

from cli.client.messages import STATISTIC
from models.events import Event
from models.rules.goals import Rulebook
from tools.loadtest.event_kinds import Kind, kinds_of

_GAINS = (nan, 1.0, 1.0, 2.0, 5.0, 12.5, 30.0, 0.1)
"""Amounts for ``sum`` goals. None at all counts 1; a tenth shows whether sums are exact."""
_RECENT_US = 10 * 60 * 1_000_000
_DAY_US = 24 * 60 * 60 * 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a load consists of."""

    events: int
    """How many are sent, repeats included."""
    users: int
    tenant_id: str
    duplicates: float = 0.0
    """Percent of the sent events that repeat an earlier one."""
    seed: int = 0
    spread: timedelta = timedelta(days=3)
    """How far back the oldest events lie; must be within the accepted lateness."""
    platform_only: bool = False
    """Only logins and statistics, which is what the gRPC services carry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The events of one run. An event is named by its index; its columns say the rest."""

    run: str
    tenant_id: str
    kinds: tuple[Kind, ...]
    user: "array[int]" = field(repr=False)
    kind: "array[int]" = field(repr=False)
    occurred_at: "array[int]" = field(repr=False)
    value: "array[float]" = field(repr=False)
    """NaN where the event has none."""
    increment: "array[float]" = field(repr=False)
    """NaN where the event has none."""
    order: "array[int]" = field(repr=False)
    """The indexes in the order of sending, repeats included."""

    @property
    def distinct(self) -> int:
        """How many different events there are."""
        return len(self.user)

    @property
    def user_prefix(self) -> str:
        """What the ids of this run's users, and of no others, start with."""
        return f"lt-{self.run}-"

    def user_id(self, number: int) -> str:
        """The id of a user of this run."""
        return f"{self.user_prefix}{number}"

    def event_id(self, index: int) -> str:
        """The id of an event of this run."""
        return f"{self.run}-{index}"

    def event(self, index: int) -> Event:
        """An event as the receiver will read it; the receiver alone knows when it accepts it."""
        return Event(
            event_id=self.event_id(index),
            event_type=self.kinds[self.kind[index]].event_type,
            tenant_id=self.tenant_id,
            user_id=self.user_id(self.user[index]),
            occurred_at=self.occurred_at[index],
            accepted_at=0,
            value=_optional(self.value[index]),
            increment=_optional(self.increment[index]),
            payload=self.kinds[self.kind[index]].payload(index),
        )

    def by_user(self) -> Iterator[tuple[int, list[int]]]:
        """Each user's number with the indexes of the user's events."""
        indexes: dict[int, list[int]] = {}
        for index, number in enumerate(self.user):
            indexes.setdefault(number, []).append(index)
        yield from indexes.items()


def make_plan(rulebook: Rulebook, shape: Shape, *, run: str, now: int) -> Plan:
    """Draw the events of a run; ``now`` is in microseconds since the epoch, and no event is later."""
    # S311: a load is drawn from a seed to be the same again; nothing here is secret.
    random = Random(shape.seed)  # noqa: S311
    repeats = int(shape.events * shape.duplicates / 100)
    distinct = max(1, shape.events - repeats) if shape.events else 0
    plan = Plan(
        run=run,
        tenant_id=shape.tenant_id,
        kinds=kinds_of(rulebook, platform_only=shape.platform_only),
        user=array("L", (random.randrange(shape.users) for _ in range(distinct))),
        kind=array("L"),
        occurred_at=array("q"),
        value=array("d"),
        increment=array("d"),
        order=_order(distinct, shape.events - distinct, random),
    )
    spread = shape.spread // timedelta(microseconds=1)
    for _ in range(distinct):
        _draw(plan, random, now=now, spread=spread, with_increment=shape.platform_only)
    return plan


def _draw(plan: Plan, random: Random, *, now: int, spread: int, with_increment: bool) -> None:
    """Add one event to all columns but the user's."""
    number = random.randrange(len(plan.kinds))
    kind = plan.kinds[number]
    age = _age(random, spread)
    is_statistic = kind.event_type.startswith(STATISTIC)
    value = _value(kind, 1 - age / spread, random)
    if with_increment:
        value = (1.0 if isnan(value) else value) if is_statistic else nan
    plan.kind.append(number)
    plan.occurred_at.append(now - age)
    plan.value.append(value)
    plan.increment.append(random.choice(_GAINS[1:]) if with_increment and is_statistic else nan)


def _age(random: Random, spread: int) -> int:
    """Microseconds between an event and its sending: mostly minutes, sometimes a day, now and then days."""
    draw = random.random()
    limit = _RECENT_US if draw < 0.7 else _DAY_US if draw < 0.9 else spread
    return random.randrange(min(limit, spread))


def _value(kind: Kind, youth: float, random: Random) -> float:
    """A value as the goals on this kind of event expect it; ``youth`` runs from 0 (oldest) to 1 (now)."""
    if "growing" in kind.values:
        # It grows with time, but one in ten falls back, so that the newest is not always the highest.
        grown = kind.top * youth
        return float(round(grown * random.random() if random.random() < 0.1 else grown))
    return random.choice(_GAINS) if "gain" in kind.values else nan


def _order(distinct: int, repeats: int, random: Random) -> "array[int]":
    """Every index once in a random order, and repeats at random places after, or beside, their first."""
    order = list(range(distinct))
    order += [random.randrange(distinct) for _ in range(repeats)]
    random.shuffle(order)
    return array("L", order)


def _optional(number: float) -> float | None:
    return None if isnan(number) else number
