"""The gRPC health service: SERVING only while events can be accepted."""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE_NAME = health.SERVICE_NAME
_INTERVAL_SECONDS = 1.0

log = structlog.get_logger()


class GrpcHealth:
    """What the health service says of the whole server and of each of its services."""

    def __init__(self, services: Sequence[str]) -> None:
        self._names = (health.OVERALL_HEALTH, *services)
        self._servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # its stub lacks aio

    def add_to(self, server: aio.Server) -> None:
        """Answer on this server; before ``say`` the answer is SERVICE_UNKNOWN."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def say(self, *, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on; those who watch are told of a change."""
        answers = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, answers.SERVING if serving else answers.NOT_SERVING)

    async def follow(self, ready: Callable[[], bool], *, interval_s: float = _INTERVAL_SECONDS) -> None:
        """Ask ``ready`` again and again, in a thread, and answer accordingly; until it is cancelled."""
        said: bool | None = None
        while True:
            is_ready = await asyncio.to_thread(ready)
            if is_ready is not said:
                await self.say(serving=is_ready)
                log.info("grpc_health_changed", serving=is_ready)
            said = is_ready
            await asyncio.sleep(interval_s)

    async def end(self) -> None:
        """Answer NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()
