"""Readiness of the started product, polled until everything answers."""

import socket
from http.client import HTTPException
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
from celery.exceptions import CeleryError
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from api.health.readiness import OK
from cli.client.running import addresses
from cli.client.trust import client_context
from config.settings import Settings
from worker.celery_app import make_app

_HISTORY = "history"
"""The check that fails where PostgreSQL went back in time."""
_COMMAND = "`questline recover`"
"""What it names then."""


class Readiness(NamedTuple):
    """What the receiver says of itself."""

    fault: str | None
    """Why it is not ready; ``None`` where ``/readyz`` answers 200."""
    decision: str | None = None
    """What an operator must decide before it can be, however long that takes."""


def receiver_readiness(settings: Settings) -> Readiness:
    """Ask the receiver once."""
    url = f"{addresses(settings)['http']}/readyz"
    try:
        with urlopen(url, timeout=2, context=client_context(settings)):  # noqa: S310 - http or https
            return Readiness(None)
    except HTTPError as error:
        failing = _failing(error.read())
        said = "; ".join(f"{name}: {answer}" for name, answer in failing.items())
        decision = failing.get(_HISTORY, "")
        return Readiness(said or str(error), decision if _COMMAND in decision else None)
    except (OSError, HTTPException) as error:
        return Readiness(str(error))


def http_fault(settings: Settings) -> str | None:
    """Why the receiver is not ready; ``None`` where ``/readyz`` answers 200."""
    return receiver_readiness(settings).fault


def _failing(body: bytes) -> dict[str, str]:
    """What ``/readyz`` says is wrong; nothing where it is not the receiver that answers."""
    try:
        checks = orjson.loads(body)["checks"]
        return {str(name): str(answer) for name, answer in checks.items() if answer != OK}
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return {}


def listens(port: int, host: str) -> bool:
    """Whether this port takes connections."""
    try:
        socket.create_connection((host.strip("[]"), port), timeout=1).close()
    except OSError:
        return False
    return True


class WorkerPing:
    """Asks the workers whether they are there, through the product's own app: its serializer is theirs."""

    def __init__(self, settings: Settings) -> None:
        self._app = make_app(settings)

    def answering(self, expected: int, *, timeout_s: float = 2.0) -> set[str]:
        """The names of the workers that answer within ``timeout_s`` seconds; returns early once ``expected`` did."""
        try:
            replies = self._app.control.ping(timeout=timeout_s, limit=expected)
        except (CeleryError, KombuError, RedisError, OSError):
            return set()
        return {name for reply in replies or [] for name in reply}

    def close(self) -> None:
        """Give the connections back."""
        self._app.close()
