"""The receiver as a command, apart, since only it needs the web servers."""

from contextlib import suppress
from threading import Event

from api.attributes import attributes_router
from api.health.routes import health_router
from api.metrics.collector import fleet_registry
from api.progress.routes import progress_router
from cli.processes.worker import process_settings
from models.errors import StateUnavailableError
from models.installation.joining import join
from models.installation.member import Member, membership
from web.authentication.authenticator import watch_keys
from web.server.metrics import serve_metrics
from worker.receiver.composition import make_receiver_parts
from worker.receiver.process import Receiver
from worker.wiring import own_challenges


def receiver() -> None:
    """Run the receiver: HTTP, gRPC and metrics, until SIGTERM or Ctrl-C."""
    settings = join(process_settings("receiver"))
    parts = make_receiver_parts(settings, own_challenges(settings))
    watch_keys(settings, parts.keys)
    serve_metrics(settings, fleet_registry(parts.collector))
    stopping = Event()
    member = Member(settings, "receiver", on_change=parts.follower.take_up)
    membership_thread = membership(member)
    membership_thread.start()
    parts.metrics.start()
    parts.watcher.start()
    with suppress(StateUnavailableError):  # before the first answer: a restart refuses nothing
        parts.probe.recall()
    parts.probing.start()
    parts.quota_watch.start()
    try:
        Receiver(
            settings=settings,
            committer=parts.committer,
            pipeline=parts.pipeline,
            routers=[
                progress_router(parts.progress, parts.threads),
                attributes_router(parts.attributes, parts.threads),
                health_router(parts.readiness, stopping=stopping),
                parts.dead_letters,
            ],
            authenticator=parts.authenticator,
            stopping=stopping,
            readiness=parts.readiness,
        ).run()
    finally:
        parts.probing.stop(patience_s=0.5)  # it may be waiting for PostgreSQL, and leaves nothing undone
        parts.quota_watch.stop()
        membership_thread.stop()
        member.leave()
        parts.watcher.stop()
        parts.keys.stop()
        parts.metrics.stop()
