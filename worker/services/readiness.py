"""Whether the started product answers: one question each, asked again until it does."""

import socket
from http.client import HTTPException
from urllib.request import urlopen

from celery.exceptions import CeleryError
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from config.settings import Settings
from worker.celery_app import make_app
from worker.services.running import addresses
from worker.trust import client_context


def http_fault(settings: Settings) -> str | None:
    """Why the receiver is not ready; ``None`` where ``/readyz`` answers 200."""
    url = f"{addresses(settings)['http']}/readyz"
    try:
        with urlopen(url, timeout=2, context=client_context(settings)):  # noqa: S310 - http or https
            return None
    except (OSError, HTTPException) as error:
        return str(error)


def listens(port: int, host: str) -> bool:
    """Whether somebody takes connections on this port."""
    try:
        socket.create_connection((host.strip("[]"), port), timeout=1).close()
    except OSError:
        return False
    return True


class WorkerRoll:
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
