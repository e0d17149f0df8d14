"""Batches of events on their way through the journal: accepted, and in the hands of a worker."""

from collections.abc import Sequence
from typing import NamedTuple

from models.errors import Bound


class Batch(NamedTuple):
    """Accepted events of one tenant and one shard, packed by ``models.events.pack_batch``."""

    shard: int
    batch_id: str
    """Its name: whatever the receiver calls it, and the name of its entry in the queue once it is accepted."""
    packed: bytes
    tenant_id: str = ""
    """Whose events they are; known to the receiver alone."""
    shards: int = 0
    """By how many shards its own was found; 0 where that is not to be looked at."""


class TakenBatch(NamedTuple):
    """A batch as a worker is given it."""

    batch_id: str
    """The name of its entry in the queue."""
    packed: bytes
    deliveries: int = 1
    """How often it was given to a worker, with this time."""


class Returned(NamedTuple):
    """A batch that was given to a worker before and has not been applied."""

    batch: TakenBatch
    is_alone: bool
    """Whether it may be to blame, so that nothing else is to be tried with it."""


class Appended(NamedTuple):
    """What became of batches: those that are accepted, by their new names, and those refused, by which bound."""

    accepted: list[Batch]
    refused: Sequence[tuple[Batch, Bound]] = ()
    unconfirmed: str = ""
    """Why the batches do not count as accepted although the journal has them; empty where they do."""

    @property
    def full(self) -> dict[int, Bound]:
        """The shards that refused a batch, and the bound that each is at."""
        return {batch.shard: bound for batch, bound in self.refused}
