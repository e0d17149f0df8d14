"""Batches as Celery messages: publishing them in one round trip, and the length of their queues.

The envelope is made by Celery itself (``as_task_v2``); only the sending is batched.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from kombu.transport.redis import Channel
from redis import Redis
from redis.exceptions import RedisError

from config.shards import MAINTENANCE_QUEUE, queue_for
from models.errors import BrokerUnavailableError
from models.state.connection import connect_state
from models.state.queue.batches import Batch
from tasks.definitions import APPLY_EVENTS, FLUSH
from worker.celery_app import FIRST, LAST, PRIORITIES, SERIALIZER

_LEFT_BEHIND = 4
MAX_TICKS = 100
"""Messages that may wait for the maintenance worker before no more are sent."""


class BatchPublisher:
    """Publishes journaled batches to their shards' queues, and asks for flushes."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._handed_on = 0

    def publish(self, batches: Sequence[Batch]) -> None:
        """Send one message a batch, all in one pipeline. The task's id is the batch's.

        Raises:
            BrokerUnavailableError: some or all were not sent; the journal has them.
        """
        with self._producer() as producer:
            self._send(producer, batches)

    def ring(self, batches: Sequence[Batch]) -> None:
        """Send the messages of batches that are ready in the journal, but none to a queue that holds one already.

        Whoever takes a message takes all that is ready in its shard. The batches were ready before the lengths are
        read, so a message that is in a queue then is taken after that, and its taker finds them. Without this a queue
        that nobody consumes would get one more message each time its shard's bell expires. Should the message that
        is there get lost, or be none of ours, the sweep finds the queue empty, or the batches overdue.

        Raises:
            BrokerUnavailableError: some or all were not sent; the journal has them.
        """
        shards = sorted({batch.shard for batch in batches})
        with self._producer() as producer:
            lengths = _queue_lengths(producer.channel.client, shards, [FIRST])
            empty = {shard for shard, length in zip(shards, lengths, strict=True) if length == 0}
            self._send(producer, [batch for batch in batches if batch.shard in empty])

    def hand_on(self, batches: Sequence[Batch]) -> None:
        """As ``ring``, for the long rest of a shard: its message comes after all others.

        So a worker goes first where a tenant waits that has no part in the backlog. One message of four goes as any
        other, so that a rest has its turns too.

        Raises:
            BrokerUnavailableError: some or all were not sent; the journal has them.
        """
        self._handed_on += 1
        priority = FIRST if self._handed_on % _LEFT_BEHIND == 0 else LAST
        with self._producer() as producer:
            shards = [batch.shard for batch in batches]
            lengths = _queue_lengths(producer.channel.client, shards)
            empty = [batch for batch, length in zip(batches, lengths, strict=True) if length == 0]
            self._send(producer, empty, priority)

    def request_flush(self) -> None:
        """Start a flush without waiting for the tick.

        Raises:
            BrokerUnavailableError: it was not sent; the tick will do.
        """
        with self._producer() as producer:
            if producer.channel.client.llen(MAINTENANCE_QUEUE) >= MAX_TICKS:
                return  # nobody takes them: one more would not help
            self._app.send_task(FLUSH, producer=producer, expires=5, ignore_result=True, retry=False)

    def _send(self, producer: Any, batches: Sequence[Batch], priority: int = FIRST) -> None:
        with producer.batch():
            for batch in batches:
                message = self._app.amqp.as_task_v2(
                    batch.batch_id,
                    APPLY_EVENTS,
                    args=(batch.shard, batch.batch_id, batch.packed),
                    argsrepr=f"(shard {batch.shard}, {len(batch.packed)} bytes)",
                    kwargsrepr="{}",
                    ignore_result=True,
                )
                producer.publish(
                    message.body,
                    headers=message.headers,
                    exchange="",
                    routing_key=queue_for(batch.shard),
                    serializer=SERIALIZER,
                    retry=False,
                    priority=priority,
                    **message.properties,
                )

    @contextmanager
    def _producer(self) -> Iterator[Any]:  # a kombu.Producer, whose stubs lack batch()
        try:
            with self._app.producer_or_acquire() as producer:
                # kombu would try for six seconds, and every caller of the receiver with it: the sweep is our retry.
                producer.connection.ensure_connection(max_retries=0)
                yield producer
        except (KombuError, OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailableError(f"the broker did not take the message: {error}") from error


class QueuePeek:
    """Looks at queues without taking anything from them. Knows how kombu keeps a queue: as a list of its name."""

    def __init__(self, broker_url: str) -> None:
        self._redis: Redis = connect_state(broker_url)

    def lengths(self, shards: int) -> list[int]:
        """The number of messages waiting for each shard, in one round trip."""
        try:
            return _queue_lengths(self._redis, range(shards))
        except RedisError as error:
            raise BrokerUnavailableError(f"the broker did not answer: {error}") from error


def _queue_lengths(redis: Redis, shards: Sequence[int], priorities: Sequence[int] = PRIORITIES) -> list[int]:
    """How many messages of these priorities each shard's queue holds."""
    pipeline = redis.pipeline(transaction=False)
    for shard in shards:
        for priority in priorities:
            pipeline.llen(queue_for(shard) + (f"{Channel.sep}{priority}" if priority else ""))
    lengths: list[int] = pipeline.execute()
    width = len(priorities)
    return [sum(lengths[start : start + width]) for start in range(0, len(lengths), width)]
