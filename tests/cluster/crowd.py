"""Users of a test of its own, their events, and what these must amount to in PostgreSQL."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

from config.shards import shard_for
from models.events import Event, pack_batch
from models.failpoints import now_us
from models.rules.engine import apply_all
from models.rules.operators import progress_of
from models.state.queue.batches import Batch
from tests.cluster.installation import SHARDS, Installation

_KINDS = ("login", "workout.logged", "quiz.scored", "statistic:headshots")

Rows = dict[tuple[str, str, str], tuple[Any, bool]]
"""(user, goal, period) to (progress, completed)."""


@dataclass
class Crowd:
    """Users of one tenant of its own, their events, and what these must amount to."""

    installation: Installation
    tenant: str
    users: int
    random: Random

    def __post_init__(self) -> None:
        self.events: list[Event] = []

    @classmethod
    def of(cls, installation: Installation, users: int = 40) -> "Crowd":
        return cls(installation, f"t{uuid4().hex}", users, Random(7))

    def batches(self, events: int, *, shards: Iterable[int] = range(SHARDS), size: int = 25) -> list[Batch]:
        """New events of users of these shards, cut into batches of at most ``size``; one in ten events comes twice."""
        by_shard: dict[int, list[Event]] = {shard: [] for shard in shards}
        made = 0
        while made < events:
            event = self._event()
            part = by_shard.get(shard_for(self.tenant, event.user_id, SHARDS))
            if part is None:
                continue
            part += [event] * self.random.choices((1, 2), (9, 1))[0]
            self.events.append(event)
            made += 1
        cut = [
            Batch(shard, uuid4().hex, pack_batch(part[at : at + size]))
            for shard, part in by_shard.items()
            for at in range(0, len(part), size)
        ]
        self.random.shuffle(cut)
        return cut

    def _event(self) -> Event:
        now = now_us()
        return Event(
            event_id=uuid4().hex,
            event_type=self.random.choice(_KINDS),
            tenant_id=self.tenant,
            user_id=f"user:{self.random.randrange(self.users)}",
            occurred_at=now - self.random.randrange(3600 * 10**6),
            accepted_at=now,
            value=float(self.random.randrange(1, 100)),
        )

    def send(self, events: int, *, shards: Iterable[int] = range(SHARDS)) -> None:
        """Have new events accepted."""
        self.installation.accept(self.batches(events, shards=shards))

    def expected(self) -> Rows:
        """What the reference engine makes of the events."""
        by_user: dict[str, list[Event]] = {}
        for event in self.events:
            by_user.setdefault(event.user_id, []).append(event)
        return {
            (user, goal, period): (progress_of(row), row.completed_at > 0)
            for user, events in by_user.items()
            for (goal, period), row in apply_all(self.installation.rulebook, events).items()
        }

    def rows(self) -> Rows:
        """What PostgreSQL has."""
        found = self.installation.query(
            "SELECT user_id, goal_id, period, progress, status FROM user_goal_progress WHERE tenant_id = %s",
            self.tenant,
        )
        return {
            (user, goal, period): (progress, status == "completed") for user, goal, period, progress, status in found
        }

    def logged(self) -> list[str]:
        """The ids in PostgreSQL's log of events."""
        found = self.installation.query("SELECT event_id FROM events WHERE tenant_id = %s", self.tenant)
        return [event_id for (event_id,) in found]

    def assert_exact(self) -> None:
        """Every event counted, none twice: in progress, in the log of events and in the unlocks."""
        self.installation.quiet()
        expected = self.expected()
        rows = self.rows()
        wrong = {
            key: (rows.get(key), expected.get(key)) for key in {*rows, *expected} if rows.get(key) != expected.get(key)
        }
        told = f"{len(wrong)} of {len(expected)} rows, {len(self.logged())} of {len(self.events)} events"
        assert not wrong, f"{told}: {sorted(wrong.items())[:5]}"
        assert sorted(self.logged()) == sorted(event.event_id for event in self.events)
        unlocks = self.installation.query(
            "SELECT user_id, goal_id, period FROM unlocks WHERE tenant_id = %s", self.tenant
        )
        assert set(unlocks) == {key for key, (_progress, completed) in expected.items() if completed}
        assert self.installation.query("SELECT * FROM dead_letters WHERE tenant_id = %s", self.tenant) == []
