"""kombu's Redis transport with one repair, so that a worker outlives its broker, and one economy."""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from models.failpoints import failpoint


class Channel(redis.Channel):
    """A channel that says so when its connection is gone.

    After a lost connection kombu 5.7 still closes the old channel once more, and a task that outlasted the connection
    still acknowledges on it. Both then fail with ``AttributeError``, which ends the worker (with exit code 0). As a
    connection's error they are passed over: what was not acknowledged comes again.
    """

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        if self.connection.client is None:
            raise RedisConnectionError("the connection of this channel was closed")
        return super()._connparams(*args, **kwargs)  # type: ignore[misc]  # the stubs leave it out

    def _create_client(self, asynchronous: bool = False) -> Any:
        """One client for each connection pool: kombu would make one for every acknowledgement."""
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[misc]  # the stubs leave it out
        client = getattr(self, "_kept_client", None)
        if client is None or client.connection_pool is not self.pool:
            client = self._kept_client = super()._create_client()  # type: ignore[misc]
        return client


class Transport(redis.Transport):
    """Takes the place of ``redis`` in ``broker_transport``."""

    Channel = Channel
    # A Redis that refuses writes (its disk or its memory is full, it became a replica) says so with an error reply, of
    # which a worker would end, with exit code 0. As a connection's error it is one more reason to wait and try again.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def _deliver(self, message: Any, queue: str | None) -> None:
        # Redis has given the message away, and kombu has not written it down yet: now it is nowhere but here.
        failpoint("message.received", RedisConnectionError)
        super()._deliver(message, queue)
