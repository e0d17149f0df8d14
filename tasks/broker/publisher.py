"""Asking for a flush out of turn."""

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from config.shards import MAINTENANCE_QUEUE
from models.errors import BrokerUnavailableError
from tasks.definitions import FLUSH

MAX_TICKS = 100
"""Messages that may wait for the maintenance worker before no more are sent."""


class FlushRequests:
    """Asks for flushes."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self) -> None:
        """Start a flush without waiting for the tick.

        Raises:
            BrokerUnavailableError: it was not sent; the tick will do.
        """
        try:
            with self._app.producer_or_acquire() as producer:
                producer.connection.ensure_connection(max_retries=0)  # kombu would try for six seconds
                if producer.channel.client.llen(MAINTENANCE_QUEUE) >= MAX_TICKS:
                    return  # nobody takes them: one more would not help
                self._app.send_task(FLUSH, producer=producer, expires=5, ignore_result=True, retry=False)
        except (KombuError, OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailableError(f"the broker did not take the message: {error}") from error
