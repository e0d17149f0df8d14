"""Batches of events on their way through the journal: accepted, taken by a worker, waiting for the sweep."""

from collections.abc import Sequence
from typing import NamedTuple

from models.errors import Bound


class Batch(NamedTuple):
    """Accepted events of one tenant and one shard, packed by ``models.events.pack_batch``."""

    shard: int
    batch_id: str
    packed: bytes
    tenant_id: str = ""
    """Whose events they are; known to the receiver alone."""
    shards: int = 0
    """By how many shards its own was found; 0 where that is not to be looked at."""


class TakenBatch(NamedTuple):
    """A batch as a worker takes it from the journal."""

    batch_id: str
    packed: bytes


class Taken(NamedTuple):
    """What a worker took, and how many batches of the shard are still ready."""

    batches: list[TakenBatch]
    left: int


class WaitingBatch(NamedTuple):
    """A batch that has waited past its due time. ``attempts`` counts how often the sweep has taken it."""

    batch_id: str
    attempts: int
    packed: bytes


class Appended(NamedTuple):
    """What became of batches: those that need a message, and those that were refused, by which bound."""

    to_publish: list[Batch]
    refused: Sequence[tuple[Batch, Bound]] = ()
    unconfirmed: str = ""
    """Why the batches do not count as accepted although the journal has them; empty where they do."""

    @property
    def full(self) -> dict[int, Bound]:
        """The shards that refused a batch, and the bound that each is at."""
        return {batch.shard: bound for batch, bound in self.refused}
