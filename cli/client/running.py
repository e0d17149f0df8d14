"""The run file: how commands find the product that ``questline up`` started.

It holds passwords, so only its owner can read it, and it counts only while the run that wrote it holds the
lock.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cli.client.data_folder import DataFolder, read_json, write_private
from config.settings import Settings
from models.errors import PermanentError

_DATABASE = (
    "db_host", "db_port", "db_name", "db_user", "db_password", "db_sslmode", "db_sslrootcert", "given_database_url",
)  # fmt: skip
_REDIS = ("broker_url", "state_url")
_OTHER = (
    "http_host", "http_port", "grpc_port", "metrics_port", "flower_port", "flower_user", "flower_password",
    "challenges_file", "tls_cert", "tls_key",
)  # fmt: skip
_FILES = ("tls_cert", "tls_key", "db_sslrootcert")


def write_run_file(data: DataFolder, settings: Settings, socket: Path) -> None:
    """Tell others about this run: where all of it is, and its supervisor's socket."""
    told = settings.model_dump(mode="json", include={*_DATABASE, *_REDIS, *_OTHER})
    for name in _FILES:  # others may run elsewhere
        if told[name] not in (None, "system"):
            told[name] = str(Path(told[name]).absolute())
    write_private(data.run_file, json.dumps({"pid": os.getpid(), "socket": str(socket), "settings": told}))


def running_settings(settings: Settings) -> Settings:
    """The settings with what is not set in the environment taken from the running product, if one runs.

    A database or Redis that the environment names is taken whole: its password is never mixed with another's.

    Raises:
        ServiceFailedError: the run file cannot be read.
    """
    data = DataFolder(settings.questline_data_dir)
    told: Mapping[str, Any] = read_json(data.run_file).get("settings", {}) if data.is_running() else {}
    wanted = set(_OTHER)
    if settings.db_host is None:
        wanted |= set(_DATABASE)
    if settings.broker_url is None and settings.state_url is None:
        wanted |= set(_REDIS)
    wanted -= settings.model_fields_set
    found = Settings.model_validate({name: told[name] for name in wanted if name in told})
    return settings.model_copy(update={name: getattr(found, name) for name in wanted if name in told})


def addresses(settings: Settings) -> dict[str, str]:
    """Where everything answers, with passwords, for complete settings."""
    host, scheme = web_host(settings.http_host), web_scheme(settings)
    return {
        "http": f"{scheme}://{host}:{settings.http_port}",
        "grpc": f"{host}:{settings.grpc_port}",
        "metrics": f"{scheme}://{host}:{settings.metrics_port}/metrics",
        "flower": f"{scheme}://{_flower_login(settings)}{host}:{settings.flower_port}",
        "database_url": settings.database_url,
        "broker_url": settings.broker,
        "state_url": settings.state,
    }


def _flower_login(settings: Settings) -> str:
    """What a browser takes for Flower's user and password, in front of its host."""
    if settings.flower_password is None:
        return ""
    return f"{quote(settings.flower_user, safe='')}:{quote(settings.flower_password, safe='')}@"


def web_scheme(settings: Settings) -> str:
    """``https`` where the product speaks TLS."""
    return "http" if settings.tls_cert is None else "https"


def web_host(host: str) -> str:
    """A listening address as a client writes it: every address means this machine, IPv6 stands in
    brackets.
    """
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def require_servers(settings: Settings) -> None:
    """Refuse settings that name no servers, from the environment or from a run.

    Raises:
        PermanentError: one line on what is missing.
    """
    missing = [] if settings.db_host else ["DB_HOST"]
    missing += [] if settings.broker_url or settings.state_url else ["BROKER_URL"]
    if missing:
        folder = DataFolder(settings.questline_data_dir).path
        raise PermanentError(
            f"Questline is not running on {folder}: start it with `questline up`, or set {' and '.join(missing)}"
        )
