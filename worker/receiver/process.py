"""The receiver as a process: HTTP and gRPC in one event loop.

The committer and the metrics are handed in ready for use; nothing here reads the environment. On
SIGTERM or SIGINT the receiver calls itself not ready, ends connections after their next answer, then takes no
more calls, writes what is held, and returns.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event

import structlog
import uvloop
from fastapi import APIRouter, FastAPI

from config.settings import Settings
from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import Append, GroupCommitter
from ingest.grpc.health import Readiness
from ingest.grpc.server import GrpcReceiver
from ingest.grpc.sockets import GrpcSockets
from ingest.http import build_router
from ingest.openapi import BODIES
from ingest.pipeline import IngestPipeline
from models.state.metrics import Metrics
from web.application import make_application
from web.authentication.middleware import Authenticator
from web.server.server import GRACE, HttpServer, limits_of, listen
from web.server.tls import certificate_of

LAME_DUCK = timedelta(seconds=1)
"""How long the receiver goes on after a signal, ending each connection with its next answer."""
_SWITCH_S = 0.0005

log = structlog.get_logger()


def build_app(
    pipeline: IngestPipeline,
    ags: AgsReader,
    routers: Sequence[APIRouter] = (),
    authenticator: Authenticator | None = None,
) -> FastAPI:
    """The HTTP application: the receiver's routes and the others. Without an authenticator it is open."""
    return make_application([build_router(pipeline, ags), *routers], authenticator, BODIES)


def make_committer(settings: Settings, append: Append, metrics: Metrics) -> GroupCommitter:
    """Group commit as the settings bound it; its thread is started by ``Receiver.serve``."""
    limits = CommitLimits(settings.shards, settings.commit_linger, settings.commit_max_events)
    return GroupCommitter(append, metrics, limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A receiver over parts that are ready for use."""

    settings: Settings
    committer: GroupCommitter
    """Not started yet."""
    pipeline: IngestPipeline
    """Over that committer."""
    readiness: Readiness
    """The gRPC health service says so."""
    routers: Sequence[APIRouter] = ()
    """The routes beside those for events."""
    authenticator: Authenticator | None = None
    """Without one, every caller is admitted."""
    stopping: Event = field(default_factory=Event)
    """Set once the receiver was told to stop; it may still answer."""

    def run(self) -> None:
        """Serve until a signal, on a loop of our own; ``serve`` says what is raised."""
        # The event loop shares the interpreter with the thread that writes: by default each would keep the other
        # waiting for 5 ms at a time, some times for each request.
        sys.setswitchinterval(_SWITCH_S)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self.serve())

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then write what is held and return; a second signal hastens it.

        Raises:
            ConfigurationError: TLS_CERT and TLS_KEY cannot be used.
            ServiceFailedError: a port is already taken; the text names it and its setting.
        """
        settings, certificate, signals = self.settings, certificate_of(self.settings), _Signals(self.stopping)
        committer = self.committer
        ags = AgsReader(settings.ab_namespace)
        app = build_app(self.pipeline, ags, self.routers, self.authenticator)
        http_server = HttpServer(
            app, limits_of(settings, self.authenticator), None if certificate is None else certificate.context()
        )
        reuse = settings.reuse_port
        with listen(settings.http_host, settings.http_port, "HTTP_PORT", reuse=reuse) as listener:
            # gRPC would log lines of its own about a taken port, so it is asked for here first.
            listen(settings.http_host, settings.grpc_port, "GRPC_PORT", reuse=reuse).close()
            sockets = GrpcSockets(reuse, settings.request_timeout, None if certificate is None else certificate.pem())
            grpc_receiver = GrpcReceiver(self.pipeline, ags, self.authenticator, sockets)
            await grpc_receiver.start(settings.http_host, settings.grpc_port)
            committer.start()
            following = asyncio.create_task(grpc_receiver.health.follow(self.readiness))
            try:
                log.info("receiver_started", http_port=settings.http_port, grpc_port=settings.grpc_port)
                await _serve_until(signals, http_server, listener, grpc_receiver)
            finally:
                following.cancel()
                # In a thread, because the last callers are woken through this loop.
                await asyncio.to_thread(committer.close)
        log.info("receiver_stopped")


class _Signals:
    """The first SIGTERM or SIGINT asks for a stop, the second one hastens it."""

    def __init__(self, stopping: Event) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self._stopping = stopping
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._come)

    def _come(self) -> None:
        (self.second if self.first.is_set() else self.first).set()
        self._stopping.set()


async def _serve_until(
    signals: _Signals, http_server: HttpServer, listener: socket.socket, grpc_receiver: GrpcReceiver
) -> None:
    serving = asyncio.create_task(http_server.serve(sockets=[listener]))
    asked = asyncio.create_task(signals.first.wait())
    hastened = asyncio.create_task(signals.second.wait())
    await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    log.info("receiver_stopping")
    http_server.finish()
    grpc_receiver.finish()
    await asyncio.wait({serving, hastened}, timeout=LAME_DUCK.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
    http_server.should_exit = True
    ending = asyncio.create_task(grpc_receiver.stop(GRACE))
    await asyncio.wait({asyncio.create_task(_both(serving, ending)), hastened}, return_when=asyncio.FIRST_COMPLETED)
    http_server.force_exit = True
    await grpc_receiver.stop(timedelta())
    await _both(serving, ending)
    asked.cancel()
    hastened.cancel()


async def _both(*tasks: "asyncio.Task[None]") -> None:
    await asyncio.gather(*tasks)
