"""The gRPC health service: SERVING only while events can be accepted.

The servicer that comes with gRPC writes to its watchers under the lock that a change of the status needs. A watcher
that reads nothing would keep that lock: the others would be told SERVING for ever, and the receiver could not stop.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

import grpc
import structlog
from grpc import aio
from grpc_health.v1 import health, health_pb2

from ingest.grpc.calls import Context, many_answers, next_message, read_message
from ingest.grpc.unauthenticated import MAX_CHECKS, ConcurrencyLimiter

SERVICE_NAME = health.SERVICE_NAME
_INTERVAL_SECONDS = 1.0
_Answer = health_pb2.HealthCheckResponse

log = structlog.get_logger()


class Readiness(Protocol):
    """Knows whether events can be accepted."""

    def is_ready(self) -> bool:
        """Whether they can be now; may take as long as a server's time limit."""
        ...


class GrpcHealth:
    """What the health service says of the whole server and of each of its services. For one event loop."""

    def __init__(self, services: Sequence[str], patience: timedelta, streams: ConcurrencyLimiter) -> None:
        """``patience`` bounds a check, and the wait for the message of a watch, which counts in ``streams``."""
        self._names = frozenset({health.OVERALL_HEALTH, *services})
        self._patience = patience
        self._streams = streams
        self._checks = ConcurrencyLimiter(MAX_CHECKS, patience, late=grpc.StatusCode.DEADLINE_EXCEEDED)
        self._serving = False
        self._ended = False
        self._changed = asyncio.Event()

    def add_to(self, server: aio.Server) -> None:
        """Answer on this server; before ``say`` the answer is NOT_SERVING."""
        asked = health_pb2.HealthCheckRequest
        methods = {"Check": many_answers(self._check, asked), "Watch": many_answers(self._watch, asked)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))

    def say(self, *, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on, always the latter after ``end``; watchers are told of it."""
        self._serving = serving and not self._ended
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, readiness: Readiness, *, interval_s: float = _INTERVAL_SECONDS) -> None:
        """Ask again and again, in a thread, and answer accordingly; until it is cancelled."""
        said: bool | None = None
        while True:
            is_ready = await asyncio.to_thread(_told, readiness)
            if is_ready is not said:
                self.say(serving=is_ready)
                log.info("grpc_health_changed", serving=is_ready)
            said = is_ready
            await asyncio.sleep(interval_s)

    def end(self) -> None:
        """Answer NOT_SERVING for good."""
        self._ended = True
        self.say(serving=False)

    async def _check(self, _requests: Any, context: Context) -> None:
        # The answer is written within the limit: a client that does not read it is not waited for either.
        async with self._checks.limit(context):
            asked = await next_message(context)
            if asked.service not in self._names:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
            await context.write(self._answer(asked.service))

    async def _watch(self, _requests: Any, context: Context) -> None:
        async with self._streams.limit(context):
            asked, said = await read_message(context, self._patience), None
            while True:
                changed, answer = self._changed, self._answer(asked.service)
                if answer != said:
                    await context.write(answer)
                said = answer
                await changed.wait()

    def _answer(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._names:
            return _Answer(status=_Answer.SERVICE_UNKNOWN)
        return _Answer(status=_Answer.SERVING if self._serving else _Answer.NOT_SERVING)


def _told(readiness: Readiness) -> bool:
    """What it says; not ready where it breaks, for NOT_SERVING would never follow."""
    try:
        return readiness.is_ready()
    except Exception:
        log.exception("readiness_broke")
        return False
