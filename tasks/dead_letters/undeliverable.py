"""Poison becomes dead letters: read, committed, and only then removed, so nothing is lost while servers are away."""

from dataclasses import dataclass

from config.shards import shard_of_queue
from models.database.dead_letters.writer import DeadLetter
from models.state.queue.undeliverable import Poison, PoisonList, unpack_poison
from tasks.dead_letters.writer import DeadLetterWriter

AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class PoisonDrain:
    """Makes dead letters of what the workers' main processes kept aside."""

    poison: PoisonList
    dead_letter_writer: DeadLetterWriter
    shards: int

    def drain(self) -> int:
        """Make dead letters of all entries; returns how many.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: the rest stays for the next sweep. An entry that became a
                dead letter and could not be removed is the same dead letter again.
        """
        drained = 0
        while entries := self.poison.oldest(AT_ONCE):
            self.dead_letter_writer.store_dead_letters([self._dead_letter(unpack_poison(packed)) for packed in entries])
            self.poison.remove(entries)
            drained += len(entries)
        return drained

    def _dead_letter(self, poison: Poison) -> DeadLetter:
        shard = shard_of_queue(poison.queue) if poison.queue else None  # of a queue that a stray message names
        return DeadLetter(
            kind="message",
            reason=poison.reason,
            error=poison.error,
            raw=poison.raw,
            event_ids=[],
            shard=shard if shard is not None and shard < self.shards else None,
            task=poison.task,
            exception=poison.exception,
            traceback=poison.traceback,
        )
