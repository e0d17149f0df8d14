"""Ports: is one free, and which free one to take."""

import errno
import socket
from collections.abc import Collection

from config.settings import Settings
from models.errors import ConfigurationError, ServiceFailedError

LOOPBACK = "127.0.0.1"


def listening_ports(settings: Settings) -> dict[str, int]:
    """The ports the product itself listens on, by the name of their setting."""
    return {
        "HTTP_PORT": settings.http_port,
        "GRPC_PORT": settings.grpc_port,
        "METRICS_PORT": settings.metrics_port,
        "FLOWER_PORT": settings.flower_port,
    }


def check_ports(settings: Settings) -> None:
    """Refuse before anything is started what would fail after it.

    Raises:
        ServiceFailedError: a port is taken; one line that names it and its setting.
        ConfigurationError: two settings name the same port.
    """
    wanted = [(name, port, settings.http_host) for name, port in listening_ports(settings).items()]
    if settings.db_host is None and "db_port" in settings.model_fields_set:
        wanted.append(("DB_PORT", settings.db_port, LOOPBACK))
    owner: dict[int, str] = {}
    for name, port, host in wanted:
        if port in owner:
            raise ConfigurationError(f"{owner[port]} and {name} are both {port}: give each its own port")
        owner[port] = name
        fault = _why_not(host, port)
        if fault is not None:
            raise ServiceFailedError(f"port {port} {fault}: free it, or set {name} to another")


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    return _why_not(host, port) is None


def free_port(*, taken: Collection[int] = ()) -> int:
    """A port of the loopback interface that is free and not in ``taken``."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def _why_not(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without this, connections of the last run that still fade away (TIME_WAIT) would count as a
        # listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is already taken"
            return f"cannot be opened on {host} ({error.strerror or error})"
    return None
