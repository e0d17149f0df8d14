"""The receiver as a command. It has a module of its own: no other process needs its web servers."""

from prometheus_client import start_http_server

from api.attributes import attributes_router
from api.health import health_router
from api.metrics import fleet_registry
from api.progress import progress_router
from models.errors import ServiceFailedError
from worker import receiver as receiver_process
from worker.celery_app import make_app
from worker.cli.processes import process_settings
from worker.doors import watch_keys
from worker.receiving import make_receiver_parts
from worker.wiring import read_challenges


def receiver() -> None:
    """Run the receiver: HTTP, gRPC and metrics, until SIGTERM or Ctrl-C."""
    settings = process_settings("receiver")
    parts = make_receiver_parts(settings, make_app(settings), read_challenges(settings))
    watch_keys(settings, parts.keys)
    try:
        start_http_server(settings.metrics_port, settings.http_host, fleet_registry(parts.collector))
    except OSError as error:
        raise ServiceFailedError(f"METRICS_PORT: port {settings.metrics_port}: {error.strerror}") from error
    parts.meters.start()
    parts.watcher.start()
    try:
        receiver_process.run(
            settings,
            append=parts.journal.append,
            publish=parts.publisher.publish,
            meters=parts.meters,
            routers=lambda intake: [
                progress_router(parts.progress),
                attributes_router(parts.attributes),
                health_router(parts.needed, parts.useful),
                parts.dead_letters(intake),
            ],
            door=parts.door,
        )
    finally:
        parts.watcher.stop()
        parts.keys.stop()
        parts.meters.stop()
