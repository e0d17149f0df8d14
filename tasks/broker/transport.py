"""kombu's Redis transport, with the shards' queues as streams in the state Redis.

All other queues go kombu's way, with three repairs, so that a worker outlives broker and bad messages, and one economy.
The names of kombu that this leans on, most of them private, stand in ``tests/unit/tasks/test_kombu_names.py``.
"""

from base64 import b64encode
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from queue import Empty
from typing import Any
from uuid import uuid4

import msgpack
import structlog
from kombu.transport import redis, virtual
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from config.shards import queue_for, shard_of_queue
from models.dead_letter_reasons import Reason
from models.errors import StateUnavailableError
from models.failpoints import failpoint
from models.state.connection import connect_state
from models.state.keys import stream_keys
from models.state.queue.journal import Journal, JournalBounds
from models.state.queue.undeliverable import UndeliverableMessage, UndeliverableMessages
from models.state.server.servers import RedisServer
from tasks.broker.envelopes import CONTENT_TYPE, BadEnvelopeError, check_envelope
from tasks.broker.streams import PAUSE_S, StreamReader, Work
from tasks.dead_letters.writer import APPLY_EVENTS

log = structlog.get_logger()

SERVER, STATE, RETRY_AFTER = "server", "state_server", "retry_after"
"""The transport option that holds the broker's whole URL as a secret. kombu reads a URL in its own way, which knows
neither TLS without options nor several Sentinels; the one that Celery is given is for logs and screens.
``state_server`` is the same of the state Redis, and ``retry_after`` how long an entry of a stream waits for its next
delivery."""
STREAMS = "XREADGROUP"
"""The third kind of poll, beside kombu's BRPOP and LISTEN."""
_STATE_TIMEOUT = 2.0
"""Seconds that a state Redis which hangs may hold the worker's event loop at a time."""
_POOL_OPTIONS = (
    "connection_class",
    "max_connections",
    "client_name",
    "health_check_interval",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_keepalive_options",
)
"""What kombu's settings say of connections."""


class QoS(redis.QoS):
    """Counts messages in hand, and no longer counts one whose acknowledgement was lost or refused.

    kombu 5.7 logs such a failure and goes on counting: a worker that takes one message at a time would take no more,
    for ever. The message stays among the unacknowledged ones in Redis and comes again, which does no harm. A message of
    streams is nowhere but in the worker: what its task applies, it acknowledges itself.
    """

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        """Count a message."""
        if delivery_tag in self.channel.reader.in_hand:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; raises what the connection raises."""
        try:
            if delivery_tag in self.channel.reader.in_hand:
                self.channel.reader.done(delivery_tag)
            else:
                super().ack(delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)  # only the count of this process

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or put it back; raises what the connection raises."""
        try:
            if delivery_tag in self.channel.reader.in_hand:
                self.channel.reader.give_back(delivery_tag)
            else:
                super().reject(delivery_tag, requeue=requeue)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back that the worker will not come to."""
        if tag in self.channel.reader.in_hand:
            self.channel.reader.give_back(tag)
        else:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)


class Channel(redis.Channel):
    """A channel that says so when its connection is gone, and keeps aside what is no message.

    After a lost connection kombu 5.7 still closes the old channel once more, and a task that outlasted the connection
    still acknowledges on it. Both then fail with ``AttributeError``, which ends the worker (with exit code 0). As a
    connection's error they are passed over: what was not acknowledged comes again.
    """

    QoS = QoS
    connection: Any
    from_transport_options = (*redis.Channel.from_transport_options, SERVER, STATE, RETRY_AFTER)
    retry_after = timedelta(seconds=10)
    _streams_pool: ConnectionPool | None = None

    @cached_property
    def reader(self) -> StreamReader:
        """What reads the streams; contacts no server until a queue of a shard is consumed."""
        state = connect_state(self._secret(STATE), socket_timeout=_STATE_TIMEOUT)
        bounds = JournalBounds(0)  # which only hold back what is appended
        return StreamReader(Journal(state, shards=1, bounds=bounds, retry_after=self.retry_after), state)

    @cached_property
    def streams_client(self) -> Any:
        """The connection of the blocking read; kombu's poller knows a client by it."""
        self._streams_pool = self._pool_of(STATE, asynchronous=True)
        return self.Client(connection_pool=self._streams_pool)

    @property
    def active_queues(self) -> list[str]:  # type: ignore[override]
        """The queues that are lists."""
        return [queue for queue in super().active_queues if shard_of_queue(queue) is None]

    @property
    def active_shards(self) -> list[int]:
        """The shards whose streams are consumed."""
        return [shard for queue in dict.fromkeys(self._active_queues) if (shard := shard_of_queue(queue)) is not None]

    def serve_streams(self) -> None:
        """Take the next step with the streams, if the worker can take a message: deliver what was claimed, or read."""
        shards, reader = self.active_shards, self.reader
        if not shards or not reader.may_ask():
            return
        try:
            if self.qos.can_consume():
                reader.claim(shards)
            while reader.claims and self.qos.can_consume():
                self._deliver_work(reader.claims.popleft())
            if self.qos.can_consume() and not reader.is_reading:
                self._start_read(shards)
        except (StateUnavailableError, RedisError, OSError) as error:
            self._lose_streams(error)

    def _start_read(self, shards: list[int]) -> None:
        cycle = self.connection.cycle
        if not cycle._client_registered(self, self.streams_client, STREAMS):  # noqa: SLF001 - kombu's names
            cycle._register(self, self.streams_client, STREAMS)  # noqa: SLF001
        self.reader.start(self.streams_client.connection, shards)

    def read_streams(self) -> None:
        """Take the reply of a read, also where the worker can take nothing: its entries are this worker's now."""
        try:
            work = self.reader.finish(self.streams_client.connection)
            if work is not None:
                self._deliver_work(work)
        except (StateUnavailableError, RedisError, OSError) as error:
            self._lose_streams(error)

    def _deliver_work(self, work: Work) -> None:
        tag = uuid4().hex
        queue = next((queue_for(s) for s in work.shards if queue_for(s) in self._active_queues), "events")
        self.reader.took(tag, work)
        try:
            self.connection._deliver(message_of(work, queue, tag), queue)  # noqa: SLF001
        except (RedisError, OSError):
            self.reader.in_hand.pop(tag, None)
            virtual.QoS.ack(self.qos, tag)
            raise

    def _lose_streams(self, error: Exception) -> None:
        """Connect anew, later: nobody but the streams suffers."""
        self.reader.pause(error)
        connection = getattr(self.__dict__.get("streams_client"), "connection", None)
        if connection is not None:
            connection.disconnect()

    def tick_streams(self) -> None:
        """Every second, see ``StreamReader.tick``: also while a worker ends, which consumes nothing any more."""
        if "reader" in self.__dict__:
            self.reader.tick()
            if self.reader.is_overdue():
                self._lose_streams(RedisConnectionError("a read got no reply"))

    def _poll_error(self, type: str, **options: Any) -> Any:  # noqa: A002 - kombu's name
        if type == STREAMS:
            return self.read_streams()
        return super()._poll_error(type, **options)  # type: ignore[misc]

    def _disconnect_pools(self) -> None:
        super()._disconnect_pools()  # type: ignore[misc]
        if self._streams_pool is not None:
            self._streams_pool.disconnect()

    def close(self) -> None:
        """Give back what a read may still bring, and what nobody works on."""
        reader = self.__dict__.get("reader")
        if not self.closed and reader is not None and reader.is_reading:
            with suppress(StateUnavailableError, RedisError, OSError):
                work = reader.finish(self.streams_client.connection)
                if work is not None:
                    reader.claims.append(work)
        super().close()
        if reader is not None:
            reader.close()

    def _size(self, queue: str) -> int:
        shard = shard_of_queue(queue)
        if shard is None:
            return int(super()._size(queue))
        with suppress(RedisError), self.reader.redis.pipeline(transaction=False) as pipeline:
            for stream in stream_keys(shard):
                pipeline.xlen(stream)
            return sum(length for length in pipeline.execute(raise_on_error=False) if isinstance(length, int))
        return 0

    def _put(self, queue: str, message: Any, **more: Any) -> None:
        if shard_of_queue(queue) is not None:
            raise OfEventsError(f"{queue} holds accepted events: they come in by the receiver, not as messages")
        super()._put(queue, message, **more)

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - kombu's
        if shard_of_queue(queue) is not None:
            raise Empty
        return super()._get(queue)

    def _purge(self, queue: str) -> int:
        if shard_of_queue(queue) is not None:
            raise OfEventsError(f"{queue} holds accepted events, which `celery purge` would lose: nothing was removed")
        return int(super()._purge(queue))

    def _secret(self, option: str) -> str:
        return str(getattr(self, option).get_secret_value())

    def _get_pool(self, asynchronous: bool = False) -> ConnectionPool:
        server = RedisServer(self._secret(SERVER))
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=server.database)
        return self._pool_of(SERVER, asynchronous=asynchronous)

    def _pool_of(self, option: str, *, asynchronous: bool) -> ConnectionPool:
        """Connections made where all others are made, so that TLS, Sentinels and options of the URL hold here too."""
        server = RedisServer(self._secret(option))
        self.connection_class = server.connection_class
        own = self._connparams(asynchronous)  # with kombu's class, which tells its poller of a lost connection
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
            self.set_aside(UndeliverableMessage(Reason.UNDECODABLE_MESSAGE, str(error), item, queue))
            return False
        return True

    def set_aside(self, message: UndeliverableMessage) -> None:
        """Keep something that cannot be handled for the maintenance sweep, which makes a dead letter of it.

        Raises:
            redis.exceptions.ConnectionError: the broker did not take it; the log has it.
        """
        log.error(
            "message_set_aside",
            queue=message.queue,
            task=message.task,
            reason=message.reason,
            error=message.error,
        )
        try:
            dropped = UndeliverableMessages(self._create_client()).add(message)
        except StateUnavailableError as error:
            log.exception("poison_not_kept", queue=message.queue, raw=b64encode(message.raw).decode())
            raise RedisConnectionError(str(error)) from error
        if dropped:
            log.error("poison_overflowed", dropped=dropped)


class OfEventsError(RuntimeError):
    """Something that the queue of a shard's events is not for."""


def message_of(work: Work, queue: str, tag: str) -> dict[str, Any]:
    """A task of Celery's protocol 2, with the packed batches as they are."""
    shards = [[shard, [list(batch) for batch in batches]] for shard, batches in work.shards.items()]
    number = sum(len(batches) for batches in work.shards.values())
    headers = {
        **_HEADERS,
        "id": tag,
        "root_id": tag,
        "argsrepr": f"({number} batches of {len(shards)} shards)",
    }
    return {
        "body": msgpack.packb([[shards], {}, _EMBED]),
        "content-type": CONTENT_TYPE,
        "content-encoding": "binary",
        "headers": headers,
        "properties": {
            "correlation_id": tag,
            "delivery_tag": tag,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": None,
            "priority": 0,
        },
    }


_HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": APPLY_EVENTS,
    "kwargsrepr": "{}",
    "ignore_result": True,
    "retries": 0,
    **dict.fromkeys(("parent_id", "group", "eta", "expires", "shadow", "origin")),
    "timelimit": [None, None],
}
_EMBED = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))


class Poller(redis.MultiChannelPoller):
    """kombu's poller, which also serves the streams of its channels."""

    streams_tref: Any = None
    _channels: set[Any]
    _fd_to_chan: dict[int, tuple[Any, str]]

    def on_poll_start(self) -> None:
        """Before each look at the sockets."""
        super().on_poll_start()
        for channel in tuple(self._channels):
            channel.serve_streams()

    def on_readable(self, fileno: int) -> Any:
        """A socket has something to read."""
        found = self._fd_to_chan.get(fileno)
        return found[0].read_streams() if found and found[1] == STREAMS else super().on_readable(fileno)

    def tick_streams(self) -> None:
        """Every second."""
        for channel in tuple(self._channels):
            channel.tick_streams()


class Transport(redis.Transport):
    """Takes the place of ``redis`` in ``broker_transport``."""

    Channel = Channel
    cycle: Any
    # A Redis that refuses writes (its disk or its memory is full, it became a replica) says so with an error reply, of
    # which a worker would end, with exit code 0. As a connection's error it is one more reason to wait and try again.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have the worker's event loop serve this transport."""
        super().register_with_event_loop(connection, loop)
        if self.cycle.streams_tref is not None:  # of the connection before
            self.cycle.streams_tref.cancel()
        self.cycle.streams_tref = loop.call_repeatedly(PAUSE_S, self.cycle.tick_streams)

    def _deliver(self, message: Any, queue: str | None) -> None:
        # Redis has given the message away, and kombu has not written it down yet: now it is nowhere but here.
        failpoint("message.received", RedisConnectionError)
        super()._deliver(message, queue)
