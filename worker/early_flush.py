"""The early flush: it does not wait for the tick where too many users have changes that PostgreSQL lacks."""

from collections.abc import Callable

import structlog
from redis import Redis

from config.settings import Settings
from models.errors import BrokerUnavailableError, StateUnavailableError
from models.state.connection import state_errors
from models.state.keys import FLUSH_ASKED
from models.state.progress.records import Records
from tasks.broker.publisher import BatchPublisher

log = structlog.get_logger()


def flush_trigger(
    settings: Settings, publisher: BatchPublisher, redis: Redis, records: Records
) -> Callable[[int], None]:
    """Starts a flush at once when more than ``BUFFER_MAX_SIZE`` users are dirty, at most once a second.

    Raises nothing where a server is away: the batch that asks was applied, and those taken with it must not suffer.
    """

    def check(dirty_in_shard: int) -> None:
        try:
            ask(dirty_in_shard)
        except (BrokerUnavailableError, StateUnavailableError) as error:
            log.warning("flush_not_requested", error=str(error))

    def ask(dirty_in_shard: int) -> None:
        # The total can only pass the limit when some shard passes its share of it.
        if dirty_in_shard * settings.shards <= settings.buffer_max_size:
            return
        if sum(records.dirty_counts(settings.shards)) <= settings.buffer_max_size:
            return
        with state_errors():
            asked = redis.set(FLUSH_ASKED, "1", nx=True, px=1000)
        if asked:
            publisher.request_flush()

    return check
