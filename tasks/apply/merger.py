"""Merges small batches to what one call of the apply script takes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from models.events import Event, pack_batch
from models.state.queue.batches import TakenBatch


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


def merge(batches: Iterable[tuple[TakenBatch, Sequence[Event]]], *, max_events: int) -> Iterator[Merged]:
    """Merge batches and their events in their order, up to ``max_events`` each; one that is larger stays alone."""
    merged = Merged()
    for batch, events in batches:
        if merged.events and len(merged.events) + len(events) > max_events:
            yield merged
            merged = Merged()
        merged.batches.append(batch)
        merged.events += events
    if merged.batches:
        yield merged
