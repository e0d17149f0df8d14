"""Flower's page on the broker, by our own connections."""

import asyncio
from collections.abc import Iterable
from typing import Any

from flower.app import Flower
from flower.views import BaseHandler
from kombu.transport.redis import Channel

from config.redis_urls import public_address
from config.settings import Settings
from models.state.connection import connect_state
from worker.celery_app import PRIORITIES

_TIMEOUT_S = 2.0


class QueueLengths:
    """Answers as Flower's clients of brokers do."""

    def __init__(self, broker_url: str) -> None:
        self._redis = connect_state(broker_url, socket_timeout=_TIMEOUT_S)

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """The number of messages in each queue."""
        return await asyncio.to_thread(self._lengths, list(names))

    def _lengths(self, names: list[str]) -> list[dict[str, Any]]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                for priority in PRIORITIES:
                    pipeline.llen(name + (f"{Channel.sep}{priority}" if priority else ""))
            lengths = iter(pipeline.execute())
        return [{"name": name, "messages": sum(next(lengths) for _ in PRIORITIES)} for name in names]


def show_queues(settings: Settings) -> None:
    """Give Flower this client in place of its own, and an address without a password."""
    lengths = QueueLengths(settings.broker)
    BaseHandler.get_broker = lambda _handler: lengths
    Flower.broker_uri = public_address(settings.broker)
