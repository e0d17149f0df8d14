"""kombu's Redis transport with three repairs, so that a worker outlives broker and bad messages, and one economy."""

from base64 import b64encode
from typing import Any

import structlog
from kombu.transport import redis, virtual
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from models.dead_letter_reasons import Reason
from models.errors import StateUnavailableError
from models.failpoints import failpoint
from models.state.queue.undeliverable import Poison, PoisonList
from models.state.server.servers import RedisServer
from tasks.broker.envelopes import BadEnvelopeError, check_envelope

log = structlog.get_logger()

SERVER = "server"
"""The transport option that holds the broker's whole URL as a secret. kombu reads a URL in its own way, which knows
neither TLS without options nor several Sentinels; the one that Celery is given is for logs and screens."""
_POOL_OPTIONS = (
    *("connection_class", "max_connections", "client_name", "health_check_interval"),
    *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"),
)
"""What kombu's settings say of connections."""


class QoS(redis.QoS):
    """Counts messages in hand, and no longer counts one whose acknowledgement was lost or refused.

    kombu 5.7 logs such a failure and goes on counting: a worker that takes one message at a time would take no more,
    for ever. The message stays among the unacknowledged ones in Redis and comes again, which does no harm.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; raises what the connection raises."""
        try:
            super().ack(delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)  # only the count of this process

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or put it back; raises what the connection raises."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        finally:
            virtual.QoS.ack(self, delivery_tag)


class Channel(redis.Channel):
    """A channel that says so when its connection is gone, and keeps aside what is no message.

    After a lost connection kombu 5.7 still closes the old channel once more, and a task that outlasted the connection
    still acknowledges on it. Both then fail with ``AttributeError``, which ends the worker (with exit code 0). As a
    connection's error they are passed over: what was not acknowledged comes again.
    """

    QoS = QoS
    from_transport_options = (*redis.Channel.from_transport_options, SERVER)

    def _get_pool(self, asynchronous: bool = False) -> ConnectionPool:
        """Connections made where all others are made, so that TLS, Sentinels and options of the URL hold here too."""
        server = RedisServer(getattr(self, SERVER).get_secret_value())
        self.connection_class = server.connection_class
        own = self._connparams(asynchronous)  # with kombu's class, which tells its poller of a lost connection
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=server.database)
        return server.pool(**{name: own[name] for name in _POOL_OPTIONS if own.get(name) is not None})

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        if self.connection.client is None:
            raise RedisConnectionError("the connection of this channel was closed")
        return super()._connparams(*args, **kwargs)  # type: ignore[misc]  # the stubs leave it out

    def _create_client(self, asynchronous: bool = False) -> Any:
        """One client for each connection pool: kombu would make one for every acknowledgement."""
        if asynchronous:
            return self._screened(super()._create_client(asynchronous=True))  # type: ignore[misc]  # left out too
        client = getattr(self, "_kept_client", None)
        if client is None or client.connection_pool is not self.pool:
            client = self._kept_client = super()._create_client()  # type: ignore[misc]
        return client

    def _screened(self, client: Any) -> Any:
        """The client that takes from queues: a bad item is kept aside, and counts as none taken."""
        parse = client.parse_response

        def parse_response(connection: Any, command: str, **options: Any) -> Any:
            reply = parse(connection, command, **options)
            if command == "BRPOP" and reply and not self._is_sound(*reply):
                return None
            return reply

        client.parse_response = parse_response
        return client

    def _is_sound(self, key: bytes, item: bytes) -> bool:
        queue = key.decode().rsplit(self.sep, 1)[0]
        try:
            check_envelope(queue, item)
        except BadEnvelopeError as error:
            self._queue_cycle.rotate(queue)  # type: ignore[attr-defined]  # other queues get their turn
            self.set_aside(Poison(Reason.UNDECODABLE_MESSAGE, str(error), item, queue))
            return False
        return True

    def set_aside(self, poison: Poison) -> None:
        """Keep something that cannot be handled for the maintenance sweep, which makes a dead letter of it.

        Raises:
            redis.exceptions.ConnectionError: the broker did not take it; the log has it.
        """
        log.error("message_set_aside", queue=poison.queue, task=poison.task, reason=poison.reason, error=poison.error)
        try:
            dropped = PoisonList(self._create_client()).add(poison)
        except StateUnavailableError as error:
            log.exception("poison_not_kept", queue=poison.queue, raw=b64encode(poison.raw).decode())
            raise RedisConnectionError(str(error)) from error
        if dropped:
            log.error("poison_overflowed", dropped=dropped)


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
