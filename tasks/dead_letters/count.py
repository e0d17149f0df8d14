"""The number of dead letters, copied from PostgreSQL to Redis for metrics."""

from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from models.database.dead_letters.reader import DeadLetterReader
from models.state.connection import state_errors
from models.state.dead_letter_count import write_depth


@dataclass(frozen=True, slots=True)
class DepthKeeper:
    """Copies the number of dead letters, by kind and reason, from PostgreSQL to Redis."""

    redis: Redis
    reader: DeadLetterReader
    now_us: Callable[[], int]

    def refresh(self) -> None:
        """Count, and put the numbers in the place of those before.

        Raises:
            DatabaseUnavailableError, StateUnavailableError: the numbers before stay.
        """
        found = self.reader.depth()
        with state_errors():
            write_depth(self.redis, found, now_us=self.now_us())
