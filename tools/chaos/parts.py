"""Programs and settings of an installation to be broken."""

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from cli.client.ports import LOOPBACK
from config.settings import Settings
from tools.local import programs as named
from tools.local.programs import Program, product_programs

REDIS, POSTGRES = "redis", "postgres"
EXTRA_WORKER, SECOND_MAINTENANCE, SECOND_BEAT = "extra-worker", "second-maintenance", "second-beat"
OTHER_RECEIVER, OTHER_WORKER = "other-receiver", "other-worker"
"""Processes that go by another number of shards: they must end by themselves."""
SPARE = (EXTRA_WORKER, SECOND_MAINTENANCE, SECOND_BEAT, OTHER_RECEIVER, OTHER_WORKER)
"""Programs that are started by faults only."""
_LEFT_OUT = (named.MIGRATE, named.FLOWER)
"""Migration is done once, by the installation itself; Flower takes no part in what is proven."""
_HURRIED = {"JOURNAL_RETRY_AFTER": "3s", "JOURNAL_SWEEP_INTERVAL": "1s"}
"""So that what is lost comes back in seconds and a run meets many faults; nothing else is tuned."""


def chaos_programs(settings: Settings, folder: Path) -> list[Program]:
    """The product's programs as `questline up` runs them, and those to spare."""
    python = [sys.executable, "-m", "cli"]
    # A second beat keeps a schedule of its own, as it would on another machine.
    others = ["/usr/bin/env", f"SHARDS={settings.shards + 1}"]
    elsewhere = ["/usr/bin/env", f"QUESTLINE_DATA_DIR={folder / 'elsewhere'}"]
    return [
        *(program for program in product_programs(settings) if program.name not in _LEFT_OUT),
        Program(EXTRA_WORKER, [*python, "worker", "--shards", "all"]),
        Program(SECOND_MAINTENANCE, [*python, "worker", "--maintenance"]),
        Program(SECOND_BEAT, [*elsewhere, *python, "beat"]),
        Program(OTHER_RECEIVER, [*others, "REUSE_PORT=true", *python, "receiver"], runs_once=True),
        Program(OTHER_WORKER, [*others, *python, "worker", "--shards", "all"], runs_once=True),
    ]


def chaos_environment(
    settings: Settings, servers: Mapping[str, str], *, redis_port: int, postgres_port: int, failpoints: Path
) -> dict[str, str]:
    """The settings of the programs: those of the environment count as not set.

    Args:
        settings: the installation's.
        servers: what the servers' own settings are in the environment.
        redis_port: the port at which the programs shall find Redis.
        postgres_port: the port at which they shall find PostgreSQL.
        failpoints: the folder that arms them.
    """
    through = f"redis://:{urlsplit(settings.state).password}@{LOOPBACK}:{redis_port}/0"
    ports = {name.upper(): str(getattr(settings, name)) for name in ("http_port", "grpc_port", "metrics_port")}
    return {
        **dict.fromkeys(Settings.names(), ""),
        **servers,
        **ports,
        **_HURRIED,
        "BROKER_URL": through,
        "STATE_URL": through,
        "DB_PORT": str(postgres_port),
        "FAILPOINTS_DIR": str(failpoints),
    }
