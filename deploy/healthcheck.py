# ruff: noqa: INP001 - a script beside the packages, not part of one
"""Is this container's process alive? Exit code 0 for yes, 1 with a reason for no.

    healthcheck.py receiver      events can be accepted (/readyz answers 200)
    healthcheck.py worker NAME   a Celery worker of this container whose name matches the pattern NAME answers a ping
    healthcheck.py beat          the clock has written its schedule within the last ten minutes
    healthcheck.py flower        Flower answers

Called by the Dockerfile and docker-compose.yml; ports and addresses come from the settings of the process.
"""

import socket
import sys
import time
from collections.abc import Callable
from http.client import HTTPException
from urllib.request import urlopen

from cli.client.running import web_scheme
from cli.client.trust import client_context
from config.settings import Settings

PATIENCE_S = 3
BEAT_SILENCE_S = 600
"""Celery's beat writes its schedule every three minutes."""


def receiver() -> str | None:
    """Why no event can be accepted."""
    settings = Settings()
    return _http_fault(settings, settings.http_port, "/readyz")


def flower() -> str | None:
    """Why Flower does not answer; this address needs no password."""
    settings = Settings()
    return _http_fault(settings, settings.flower_port, "/healthcheck")


def worker() -> str | None:
    """Why the worker does not answer: only the one of this container is asked."""
    from worker.celery_app import make_app  # noqa: PLC0415 - the other checks do without Celery

    name = f"{sys.argv[2]}@{socket.gethostname()}"
    replies = make_app(Settings()).control.ping(pattern=name, matcher="glob", limit=1, timeout=PATIENCE_S)
    return None if replies else f"{name} does not answer"


def beat() -> str | None:
    """Why the clock seems to stand still."""
    files = list(Settings().questline_data_dir.glob("beat-schedule*"))
    age = time.time() - max((file.stat().st_mtime for file in files), default=0)
    return None if age < BEAT_SILENCE_S else f"the schedule was last written {age:.0f} s ago"


def _http_fault(settings: Settings, port: int, path: str) -> str | None:
    url = f"{web_scheme(settings)}://127.0.0.1:{port}{path}"
    try:
        with urlopen(url, timeout=PATIENCE_S, context=client_context(settings)):  # noqa: S310 - http or https
            return None
    except (OSError, HTTPException) as error:
        return f"port {port}{path}: {error}"


CHECKS: dict[str, Callable[[], str | None]] = {
    "receiver": receiver,
    "worker": worker,
    "beat": beat,
    "flower": flower,
}

if __name__ == "__main__":
    sys.exit(CHECKS[sys.argv[1]]())
