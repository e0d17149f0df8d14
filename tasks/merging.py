"""Batches merged to what one call of the apply script takes: fewer calls when many small batches wait."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from models.errors import MalformedBatchError
from models.events import Event, pack_batch, unpack_batch
from models.hot.journal import TakenBatch

log = structlog.get_logger()


@dataclass(slots=True)
class Merged:
    """Events of some batches, to be applied together."""

    batches: list[TakenBatch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def batch_ids(self) -> list[str]:
        """The journal entries that these events are."""
        return [batch.batch_id for batch in self.batches]

    @property
    def packed(self) -> bytes:
        """All events as one batch."""
        return self.batches[0].packed if len(self.batches) == 1 else pack_batch(self.events)


def merge(batches: Sequence[TakenBatch], *, shard: int, max_events: int) -> Iterator[Merged]:
    """Merge batches in their order, up to ``max_events`` each; one that is larger stays alone.

    Bytes that are no batch are left to the journal, whose sweep dead-letters them in the end.
    """
    merged = Merged()
    for batch in batches:
        try:
            events = unpack_batch(batch.packed)
        except MalformedBatchError:
            log.exception("batch_malformed", shard=shard, batch_id=batch.batch_id)
            continue
        if merged.events and len(merged.events) + len(events) > max_events:
            yield merged
            merged = Merged()
        merged.batches.append(batch)
        merged.events += events
    if merged.batches:
        yield merged
