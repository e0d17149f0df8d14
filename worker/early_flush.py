"""The early flush: it does not wait for the tick where too many users have changes that PostgreSQL lacks."""

from dataclasses import dataclass

import structlog
from redis import Redis

from config.settings import Settings
from models.errors import BrokerUnavailableError, StateUnavailableError
from models.state.connection import state_errors
from models.state.keys import FLUSH_ASKED
from models.state.progress.records import Records
from tasks.broker.publisher import FlushRequests

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EarlyFlush:
    """Starts a flush at once when more than ``BUFFER_MAX_SIZE`` users are dirty, at most once a second."""

    settings: Settings
    requests: FlushRequests
    redis: Redis
    records: Records

    def note(self, dirty_in_shard: int) -> None:
        """Take the number of dirty users of a shard.

        Raises nothing where a server is away: the batch that asks was applied, and those taken with it must not suffer.
        """
        # The total can only pass the limit when some shard passes its share of it.
        if dirty_in_shard * self.settings.shards <= self.settings.buffer_max_size:
            return
        try:
            self._ask()
        except (BrokerUnavailableError, StateUnavailableError) as error:
            log.warning("flush_not_requested", error=str(error))

    def _ask(self) -> None:
        if sum(self.records.dirty_counts(self.settings.shards)) <= self.settings.buffer_max_size:
            return
        with state_errors():
            asked = self.redis.set(FLUSH_ASKED, "1", nx=True, px=1000)
        if asked:
            self.requests.send()
