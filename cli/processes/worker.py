"""The long-running processes of the product, and the migration that precedes them."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

import structlog
import typer
from celery import Celery, Task, signals
from rich.console import Console

from cli.client.running import running_settings
from config.redis_urls import celery_address
from config.settings import Settings
from config.shards import MAINTENANCE_QUEUE, parse_shards, queue_for
from migrations.runner import migrate as migrate_database
from models.database.checks.suitability import require_suitable
from models.database.connection import connect_database
from models.database.partitions import prepare_database
from models.errors import ConfigurationError, RetryableError
from models.failpoints import arm, now_us
from models.installation.joining import join
from models.installation.member import Member, membership
from models.state.checks.requirements import require_redis
from models.state.connection import connect_state
from models.state.fleet.beat_lease import BeatLease
from models.state.fleet.heartbeats import Heartbeats
from tasks import runtime
from web.authentication.authenticator import check_address
from web.server.tls import certificate_of
from worker.celery_app import make_app
from worker.logs import configure_logs
from worker.membership import join_as_worker
from worker.memory_watch import memory_watch
from worker.scheduler import leased_scheduler
from worker.task_failures import watch_task_failures
from worker.wiring import build_runtime, own_challenges

_ALL, _AUTO = "all", "auto"
_LEASE_TIMEOUT = 2.0
"""Seconds that a Redis which hangs may hold beat, which must notice that its lease is over."""

log = structlog.get_logger()


def worker(
    shards: Annotated[
        str | None,
        typer.Option(
            help="Only some of the shards: 0-7 or 0-3,8; or 1/2, the first of two equal parts. Without it a worker "
            "takes from all of them, as others do beside it."
        ),
    ] = None,
    maintenance: Annotated[
        bool, typer.Option("--maintenance", help="Take flushes and sweeps instead of shards.")
    ] = False,
) -> None:
    """Run a worker on the shards, or on maintenance, until SIGTERM or Ctrl-C."""
    if maintenance and shards is not None:
        raise typer.BadParameter("give either --shards or --maintenance")
    if shards == _AUTO:
        typer.echo("--shards auto is deprecated: without --shards a worker takes from all shards", err=True)
    name = f"shards-{shards}".replace("/", "-of-")
    if shards is None or shards == _AUTO:
        shards, name = _ALL, f"shards-{shards or _ALL}-{os.getpid()}"  # several may run on one host
    settings = join(process_settings("maintenance" if maintenance else f"worker {shards}"))
    document = own_challenges(settings)
    app = make_app(settings)
    runtime.install(lambda: build_runtime(settings, app, document))
    join_as_worker(app, Member(settings, "maintenance" if maintenance else "worker"))
    watch_task_failures(settings)
    if maintenance:
        signals.worker_ready.connect(_warm_up, weak=False)
        signals.worker_shutdown.connect(_close, weak=False)
        signals.task_prerun.connect(_note_heartbeats(settings), weak=False)
        memory_watch(
            settings
        ).start()  # without room in Redis the worker itself does not come up; it ends with the process
        # Threads: a flush that waits for PostgreSQL must not keep the sweep waiting.
        _run_worker(app, settings, "maintenance", [MAINTENANCE_QUEUE], "threads", concurrency=2)
        return
    signals.worker_process_init.connect(_warm_up, weak=False)
    signals.worker_process_shutdown.connect(_close, weak=False)
    queues = [queue_for(shard) for shard in _share(shards, settings)]
    # One child: batches of a shard are applied one after another, and a crash of the child spares the worker.
    _run_worker(app, settings, name, queues, "prefork", concurrency=1)


def beat() -> None:
    """Run the clock of the periodic tasks: flush, sweep, partitions."""
    settings = join(process_settings("beat"))
    folder = settings.questline_data_dir
    folder.mkdir(parents=True, exist_ok=True)
    signals.setup_logging.connect(_logs_are_set_up, weak=False)
    app, member = make_app(settings), Member(settings, "beat")
    lease = BeatLease(connect_state(settings.state, socket_timeout=_LEASE_TIMEOUT), member.name)
    app.conf.beat_scheduler = leased_scheduler(lease, member.stands_by)
    watch = membership(member)
    watch.start()
    try:
        app.start(
            [
                *_celery(settings),
                "beat",
                "--schedule",
                str(folder / "beat-schedule"),
                "--pidfile=",
                "--loglevel",
                settings.log_level,
            ]
        )
    finally:
        watch.stop()
        member.leave()


def flower() -> None:
    """Run Flower behind its password; without FLOWER_CONTROL=true, it shows and changes nothing."""
    from flower import options as _defined  # noqa: F401, PLC0415 - defines them
    from tornado.options import options  # noqa: PLC0415 - Flower's, which no other process needs

    from worker.flower.guard import guard_flower  # noqa: PLC0415 - the same
    from worker.flower.page import show_queues  # noqa: PLC0415 - the same

    settings = process_settings("flower")
    if not settings.flower_password:
        raise ConfigurationError("FLOWER_PASSWORD: Flower is not started without a password")
    check_address(settings)
    # Set here, because every user of the machine can read a command line.
    options.basic_auth = [f"{settings.flower_user}:{settings.flower_password}"]
    certificate = certificate_of(settings)
    secured = [] if certificate is None else [f"--certfile={certificate.chain}", f"--keyfile={certificate.key}"]
    signals.setup_logging.connect(_logs_are_set_up, weak=False)
    app = make_app(settings)
    show_queues(settings)
    guard_flower(settings)
    app.start(
        [
            *_celery(settings),
            "flower",
            f"--address={settings.http_host}",
            f"--port={settings.flower_port}",
            f"--read_only={not settings.flower_control}",
            "--max-tasks=5000",
            *secured,
        ]
    )
    # Threads of Flower may wait for answers of workers that are gone, and would hold the end; it keeps nothing.
    os._exit(0)


def migrate() -> None:
    """Bring PostgreSQL to this version's tables, and make the partitions of the coming days."""
    settings = running_settings(Settings())
    require_suitable(settings)
    engine = connect_database(settings.database_url, application="questline-migrate")
    with Console(stderr=True).status("migrating"):
        migrate_database(engine)
        settings = join(settings)
        prepare_database(engine, settings)
    Console(stderr=True).print("the database is up to date")


def process_settings(process: str) -> Settings:
    """The settings of a process, with its logs set up under its name."""
    settings = running_settings(Settings())
    configure_logs(settings.log_level, process=process)
    for setting, url in {"BROKER_URL": settings.broker, "STATE_URL": settings.state}.items():
        if urlsplit(url).password is None:
            log.warning("redis_without_password", setting=setting)
    require_redis(settings)
    arm(settings.failpoints_dir, process=process)
    if settings.failpoints_dir is not None:
        log.warning("failpoints_armed", folder=str(settings.failpoints_dir))
    return settings


def _share(shards: str, settings: Settings) -> list[int]:
    try:
        return parse_shards(shards, settings.shards)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shards") from error


def _run_worker(app: Celery, settings: Settings, name: str, queues: list[str], pool: str, *, concurrency: int) -> None:
    signals.setup_logging.connect(_logs_are_set_up, weak=False)
    app.worker_main(
        [
            *_celery(settings),
            "worker",
            f"--pool={pool}",
            f"--concurrency={concurrency}",
            # Without a queue Celery would consume all of them: the share of one of more workers than shards is empty.
            f"--queues={','.join(queues)}" if queues else f"--exclude-queues={','.join(app.amqp.queues)}",
            f"--hostname={name}@%h",
            f"--loglevel={settings.log_level}",
            # Workers need nothing from one another; the heartbeat stays, for Flower.
            "--without-gossip",
            "--without-mingle",
        ]
    )


def _celery(settings: Settings) -> list[str]:
    """How Celery's own command line is called: without a banner between the JSON lines, and with the broker of its
    app, or it would take BROKER_URL from the environment, which it cannot always read.
    """
    return ["--quiet", f"--broker={celery_address(settings.broker)}"]


def _logs_are_set_up(**_signal: object) -> None:
    """A receiver of ``setup_logging`` keeps Celery from setting up logs of its own."""


def _warm_up(**_signal: object) -> None:
    """Connect and learn the published rules before the first batch; if a server is away, that batch tries again."""
    try:
        runtime.runtime().applier.evaluator.rules.matcher()
    except RetryableError as error:
        log.warning("worker_not_ready", error=str(error))


def _close(**_signal: object) -> None:
    runtime.close()


def _note_heartbeats(settings: Settings) -> Callable[..., None]:
    """Notes when each periodic task begins, by which `questline doctor` knows that beat is alive."""
    heartbeats = Heartbeats(connect_state(settings.state))

    def note(task: Task[..., None], **_signal: object) -> None:
        with suppress(RetryableError):  # the task will say so itself
            heartbeats.note(task.name, now_us())

    return note
