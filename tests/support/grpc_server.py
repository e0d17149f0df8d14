"""The gRPC receiver on a free port, over a journal in a real Redis, for tests that speak to it."""

import asyncio
from datetime import timedelta
from typing import Any, Self

import grpc
import pytest
from grpc import aio

from cli.client.ports import free_port
from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.grpc.server import GrpcReceiver
from ingest.grpc.sockets import GrpcSockets
from ingest.pipeline import IngestPipeline
from models.events import Event
from models.state.metrics import Metrics
from models.state.queue.journal import Journal, JournalBounds
from tests.support.journal import journaled_events

SHARDS = 4
NOW = 1_762_770_600_000_000
LOGIN = "/accelbyte.iam.account.v1.UserAuthenticationUserLoggedInService/OnMessage"
STATISTIC = "/accelbyte.social.statistic.v1.StatisticStatItemUpdatedService/OnMessage"


class Server:
    """A running gRPC receiver and a channel to it."""

    def __init__(
        self,
        redis: Any,
        *,
        namespace: str | None = None,
        max_bytes: int = 64 * 1024 * 1024,
        sockets: GrpcSockets | None = None,
    ) -> None:
        self.redis = redis
        self.metrics = Metrics(redis)
        journal = Journal(redis, shards=SHARDS, bounds=JournalBounds(max_bytes), retry_after=timedelta(seconds=10))
        limits = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)
        self.committer = GroupCommitter(journal.append, self.metrics, limits, clock=lambda: NOW)
        pipeline = IngestPipeline(self.committer, self.metrics, max_lateness=timedelta(days=7), clock=lambda: NOW)
        self.receiver = GrpcReceiver(pipeline, AgsReader(namespace), sockets=sockets)
        self.port = free_port()
        self.ready = True
        self.readiness_breaks = False

    async def __aenter__(self) -> Self:
        self.committer.start()
        await self.receiver.start("127.0.0.1", self.port)
        self.following = asyncio.create_task(self.receiver.health.follow(self, interval_s=0.01))
        self.channel: Any = aio.insecure_channel(f"127.0.0.1:{self.port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.following.cancel()
        await self.channel.close()
        await self.receiver.stop(timedelta(seconds=1))
        self.committer.close()

    def is_ready(self) -> bool:
        if self.readiness_breaks:
            raise ZeroDivisionError("a bug")
        return self.ready

    async def send(self, method: str, message: Any) -> bytes:
        """Send a message, or bytes as they are; returns the reply's bytes."""
        body = message if isinstance(message, bytes) else message.SerializeToString()
        reply: bytes = await self.channel.unary_unary(method)(body, timeout=10)
        return reply

    async def refused(self, method: str, message: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(aio.AioRpcError) as caught:
            await self.send(method, message)
        return caught.value.code(), caught.value.details() or ""

    def journaled(self) -> list[Event]:
        return journaled_events(self.redis, SHARDS)
