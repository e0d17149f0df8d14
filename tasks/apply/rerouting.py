"""Moves batches in the wrong shard to the journals of their users' shards.

The fence in front of a journal keeps such batches out. One comes to a worker all the same where Redis went back to
before a change of the number of shards. Applied here it would give a
user a second record.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from config.shards import shard_for
from models.events import Event, pack_batch
from models.state.queue.batches import Batch, TakenBatch
from models.state.queue.journal import Journal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rerouter:
    """Knows where users belong."""

    shards: int
    journal: Journal
    now_us: Callable[[], int]

    def moves(self, shard: int, batch: TakenBatch, events: Sequence[Event]) -> bool:
        """Tell whether a batch holds users of other shards; if so, it is moved, or left where it is to come again.

        Moved twice, its events are known by their ids.

        Raises:
            StateUnavailableError: the state Redis did not answer; the batch comes again.
        """
        if all(shard_for(event.tenant_id, event.user_id, self.shards) == shard for event in events):
            return False
        parts: defaultdict[tuple[str, int], list[Event]] = defaultdict(list)
        for event in events:
            parts[event.tenant_id, shard_for(event.tenant_id, event.user_id, self.shards)].append(event)
        batches = [
            Batch(where, batch.batch_id, pack_batch(part), shards=self.shards)
            for (_, where), part in sorted(parts.items())
        ]
        appended = self.journal.append(batches, self.now_us() // 1000)
        if appended.refused:
            self.journal.postpone(shard, [batch.batch_id])
        else:
            self.journal.drop(shard, batch.batch_id)
        log.warning("batch_rerouted", shard=shard, batch_id=batch.batch_id, to=sorted({where for _, where in parts}))
        return True
