"""gRPC calls without a key, bounded in number and time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ingest.grpc.calls import Context, many_answers

MAX_STREAMS = 64
"""Health watches and reflection streams under way at once."""
MAX_CHECKS = 256
"""Health checks under way at once; bounded apart, so that watchers cannot keep probes out."""


class ConcurrencyLimiter:
    """So many calls at once, each for so long; the next one gets RESOURCE_EXHAUSTED. For one event loop."""

    def __init__(self, number: int, lifetime: timedelta, *, late: grpc.StatusCode) -> None:
        """``late`` is the status of a call that took longer."""
        self._free = number
        self._lifetime_s = lifetime.total_seconds()
        self._late = late

    @asynccontextmanager
    async def limit(self, context: Context) -> AsyncIterator[None]:
        """Count one call; end it where too many are under way, or once it has taken too long."""
        if not self._free:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls of this kind are under way")
        self._free -= 1
        try:
            async with asyncio.timeout(self._lifetime_s):
                yield
        except TimeoutError:
            await context.abort(self._late, f"ended after {self._lifetime_s:g} s: ask again")
        finally:
            self._free += 1


def add_reflection(server: aio.Server, services: Sequence[str], limiter: ConcurrencyLimiter) -> None:
    """Answer reflection requests about these services, within the limit."""
    servicer = reflection.aio.ReflectionServicer([*services, reflection.SERVICE_NAME])  # type: ignore[attr-defined]

    async def reflect(requests: Any, context: Context) -> None:
        async with limiter.limit(context):
            async for reply in servicer.ServerReflectionInfo(_readable(requests), context):
                await context.write(reply)

    methods = {"ServerReflectionInfo": many_answers(reflect, reflection_pb2.ServerReflectionRequest)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, methods),))


async def _readable(requests: Any) -> AsyncIterator[Any]:
    """The requests; bytes that are none as an empty one, which is answered as an invalid argument."""
    async for request in requests:
        yield reflection_pb2.ServerReflectionRequest() if request is None else request
