"""Merges small batches to what one call of the apply script takes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from models.errors import MalformedBatchError
from models.events import Event, pack_batch, unpack_batch
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


def merge(
    batches: Sequence[TakenBatch],
    malformed: Callable[[TakenBatch, MalformedBatchError], None],
    moved: Callable[[TakenBatch, Sequence[Event]], bool],
    *,
    max_events: int,
) -> Iterator[Merged]:
    """Merge batches in their order, up to ``max_events`` each; one that is larger stays alone.

    ``malformed`` is told of bytes that are no batch; what ``moved`` takes is left out.
    """
    merged = Merged()
    for batch in batches:
        try:
            events = unpack_batch(batch.packed)
        except MalformedBatchError as error:
            malformed(batch, error)
            continue
        if moved(batch, events):
            continue
        if merged.events and len(merged.events) + len(events) > max_events:
            yield merged
            merged = Merged()
        merged.batches.append(batch)
        merged.events += events
    if merged.batches:
        yield merged
