"""Flower's page on the broker, by our own connections."""

import asyncio
from collections.abc import Iterable
from typing import Any

from flower.app import Flower
from flower.views import BaseHandler

from config.redis_urls import public_address
from config.settings import Settings
from config.shards import shard_of_queue
from models.state.connection import connect_state
from models.state.keys import stream_keys

_TIMEOUT_S = 2.0


class QueueLengths:
    """Answers as Flower's clients of brokers do."""

    def __init__(self, settings: Settings) -> None:
        self._broker = connect_state(settings.broker, socket_timeout=_TIMEOUT_S)
        self._state = connect_state(settings.state, socket_timeout=_TIMEOUT_S)

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """The number of messages in each queue."""
        return await asyncio.to_thread(self._lengths, list(names))

    def _lengths(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"name": name, "messages": self._length(name)} for name in names]

    def _length(self, name: str) -> int:
        shard = shard_of_queue(name)
        if shard is None:
            return int(self._broker.llen(name))
        with self._state.pipeline(transaction=False) as pipeline:
            for stream in stream_keys(shard):
                pipeline.xlen(stream)
            return sum(pipeline.execute())


def show_queues(settings: Settings) -> None:
    """Give Flower this client in place of its own, and an address without a password."""
    lengths = QueueLengths(settings)
    BaseHandler.get_broker = lambda _handler: lengths
    Flower.broker_uri = public_address(settings.broker)
