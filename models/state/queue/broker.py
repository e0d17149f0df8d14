"""The broker's Redis beside Celery: whether it answers, and what former releases left there."""

from redis import Redis
from redis.exceptions import RedisError

from config.shards import queue_for
from models.errors import BrokerUnavailableError
from models.state.connection import connect_state

_FORMER_PRIORITY = "\x06\x169"
"""What kombu put behind the name of a queue for messages of a lower priority."""


class Broker:
    """The broker's Redis. Knows how kombu keeps a queue: as a list of its name."""

    def __init__(self, url: str) -> None:
        self._redis: Redis = connect_state(url)

    def ping(self) -> None:
        """Whether it answers.

        Raises:
            BrokerUnavailableError: it does not.
        """
        try:
            self._redis.ping()
        except RedisError as error:
            raise BrokerUnavailableError(f"the broker did not answer: {error}") from error

    def drop_wakeups(self, shards: int) -> None:
        """Drop what releases up to 0.2 left in the shards' queues, which only told of batches in their journals.

        Raises:
            BrokerUnavailableError: it does not answer.
        """
        queues = [queue_for(shard) for shard in range(shards)]
        try:
            self._redis.unlink(*queues, *(queue + _FORMER_PRIORITY for queue in queues))
        except RedisError as error:
            raise BrokerUnavailableError(f"the broker did not answer: {error}") from error
