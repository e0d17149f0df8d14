"""Accepted batches of releases up to 0.2, which kept them in a hash, move to where workers read them."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from models.state.queue.broker import Broker
from models.state.queue.journal import Journal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FormerJournal:
    """What a former release left, and may still add to while it is replaced process by process."""

    journal: Journal
    broker: Broker
    shards: int
    now_us: Callable[[], int]

    def take_up(self) -> None:
        """Move all batches, and drop the messages, which only told of them.

        Raises:
            StateUnavailableError, BrokerUnavailableError: the next call goes on.
        """
        moved = self.journal.take_up(self.shards, self.now_us() // 1000)
        if moved:
            log.warning("former_journal_taken_up", batches=moved)
        self.broker.drop_wakeups(self.shards)
