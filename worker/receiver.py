"""The receiver as a process: HTTP and gRPC in one event loop, over one group committer.

The journal, the publisher and the meters are handed in ready for use; nothing here reads the environment. On
SIGTERM or SIGINT both servers stop taking calls, what is held is written, and ``serve`` returns.
"""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version

import structlog
import uvicorn
import uvloop
from fastapi import APIRouter, FastAPI

from config.settings import Settings
from ingest.access import Door, install_door
from ingest.ags import AgsReader
from ingest.committer import Append, GroupCommitter, Publish
from ingest.group import CommitLimits
from ingest.grpc_server import GrpcReceiver
from ingest.http import build_router
from ingest.intake import Intake
from ingest.openapi import install_openapi
from ingest.problems import install_problems
from models.errors import ServiceFailedError
from models.hot.meters import Meters

GRACE = timedelta(seconds=5)
"""How long calls under way may take to end when the receiver stops."""
_BACKLOG = 2048
Routers = Callable[[Intake], Sequence[APIRouter]]
"""The routers of other rooms; some of them need the way in for events."""

log = structlog.get_logger()


def build_app(intake: Intake, ags: AgsReader, routers: Sequence[APIRouter] = (), door: Door | None = None) -> FastAPI:
    """The HTTP application: the receiver's routes and those of other rooms. Without a door, it takes anybody."""
    app = FastAPI(
        title="Questline",
        version=version("questline"),
        description="Events in, exact progress out.",
    )
    app.include_router(build_router(intake, ags))
    for router in routers:
        app.include_router(router)
    install_problems(app)
    if door is not None:
        install_door(app, door)
    install_openapi(app)
    return app


def run(  # noqa: PLR0913 - the composition root hands its parts in
    settings: Settings,
    *,
    append: Append,
    publish: Publish,
    meters: Meters,
    routers: Routers = lambda _: (),
    door: Door | None = None,
) -> None:
    """Serve until a signal, on a loop of our own; ``serve`` says what is raised."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, append=append, publish=publish, meters=meters, routers=routers, door=door))


async def serve(  # noqa: PLR0913 - as above
    settings: Settings,
    *,
    append: Append,
    publish: Publish,
    meters: Meters,
    routers: Routers = lambda _: (),
    door: Door | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then write what is held and return.

    Raises:
        ServiceFailedError: a port is already taken; the text names it and its setting.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    committer = GroupCommitter(
        append,
        publish,
        meters,
        CommitLimits(settings.shards, settings.commit_linger, settings.commit_max_events),
    )
    intake = Intake(committer, meters, max_lateness=settings.max_lateness)
    ags = AgsReader(settings.ab_namespace)
    with listen(settings.http_host, settings.http_port, "HTTP_PORT") as listener:
        # gRPC would log lines of its own about a taken port, so it is asked for here first.
        listen(settings.http_host, settings.grpc_port, "GRPC_PORT").close()
        grpc_receiver = GrpcReceiver(intake, ags, door)
        await grpc_receiver.start(settings.http_host, settings.grpc_port)
        committer.start()
        try:
            log.info("receiver_started", http_port=settings.http_port, grpc_port=settings.grpc_port)
            app = build_app(intake, ags, routers(intake), door)
            await _serve_until(stop, _HttpServer(_http_config(app)), listener, grpc_receiver)
        finally:
            # In a thread, because the last callers are woken through this loop.
            await asyncio.to_thread(committer.close)
    log.info("receiver_stopped")


async def _serve_until(
    stop: asyncio.Event, http_server: "_HttpServer", listener: socket.socket, grpc_receiver: GrpcReceiver
) -> None:
    serving = asyncio.create_task(http_server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    log.info("receiver_stopping")
    stopping.cancel()
    http_server.should_exit = True
    await asyncio.gather(serving, grpc_receiver.stop(GRACE))


class _HttpServer(uvicorn.Server):
    """uvicorn without its own signal handling, which would end the process before the rest is done."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _http_config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(GRACE.total_seconds()),
    )


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening TCP socket, refused where another one has the port.

    Raises:
        ServiceFailedError: the port is taken, or the address is not ours; the text names ``setting``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = "is already taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ServiceFailedError(f"port {port} on {host} {reason}: free it, or set {setting} to another") from error
    listener.setblocking(False)
    return listener
