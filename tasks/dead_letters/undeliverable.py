"""Makes undeliverable messages dead letters: reads, commits, and only then removes them."""

from dataclasses import dataclass

from config.shards import shard_of_queue
from models.database.dead_letters.writer import DeadLetter
from models.state.queue.undeliverable import UndeliverableMessage, UndeliverableMessages, unpack_undeliverable
from tasks.dead_letters.writer import DeadLetterWriter

AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class UndeliverableDrain:
    """Makes dead letters of what the workers' main processes kept aside."""

    undeliverable: UndeliverableMessages
    dead_letter_writer: DeadLetterWriter
    shards: int

    def drain(self) -> int:
        """Make dead letters of all entries; returns how many.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: the rest stays for the next sweep. An entry that became a
                dead letter and could not be removed is the same dead letter again.
        """
        drained = 0
        while entries := self.undeliverable.oldest(AT_ONCE):
            self.dead_letter_writer.store_dead_letters(
                [self._dead_letter(unpack_undeliverable(packed)) for packed in entries]
            )
            self.undeliverable.remove(entries)
            drained += len(entries)
        return drained

    def _dead_letter(self, message: UndeliverableMessage) -> DeadLetter:
        # A stray message names any queue.
        shard = shard_of_queue(message.queue) if message.queue else None
        return DeadLetter(
            kind="message",
            reason=message.reason,
            error=message.error,
            raw=message.raw,
            event_ids=[],
            shard=shard if shard is not None and shard < self.shards else None,
            task=message.task,
            exception=message.exception,
            traceback=message.traceback,
        )
