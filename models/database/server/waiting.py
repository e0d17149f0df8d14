"""Waiting for PostgreSQL, never longer than a connection allows.

A server that stands still (a frozen machine, a stopped process) keeps no timeout of its own, and its system goes on to
acknowledge what it is sent, so TCP notices nothing either. So the client looks at the clock: psycopg2 asks the callback
below to wait, in every thread of the process, and a wait that takes too long ends the connection.
"""

import select
from ssl import get_default_verify_paths
from time import monotonic
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE, connection, parse_dsn, set_wait_callback

CONNECT_PATIENCE_S = 5.0
"""For each host of a URL, from the first packet until the server takes statements."""
_MASKS = {POLL_READ: select.POLLIN, POLL_WRITE: select.POLLOUT}


class NoAnswerError(psycopg2.OperationalError):
    """PostgreSQL took longer to answer than the connection waits."""


class PatientConnection(connection):
    """A connection that waits ``patience_s`` for an answer; without one it waits for ever."""

    def __init__(self, dsn: str, *, connect_s: float, patience_s: float | None) -> None:
        self.patience_s: float | None = connect_s
        super().__init__(dsn)
        self.patience_s = patience_s


def open_connection(url: str, *, patience_s: float | None, **options: Any) -> PatientConnection:
    """A connection to the first host of the URL that can be used; ``options`` are libpq's.

    Raises:
        psycopg2.OperationalError: there is none, for the reason that the last one had.
    """
    told = {**parse_dsn(url), **options}
    if told.get("sslrootcert") == "system":  # the driver's own OpenSSL looks for them where it was built
        told["sslrootcert"] = get_default_verify_paths().cafile or "system"
        told.setdefault("sslmode", "verify-full")
    connect_s = float(told.pop("connect_timeout", CONNECT_PATIENCE_S))
    if patience_s is not None:
        connect_s = min(connect_s, patience_s)

    def factory(dsn: str) -> PatientConnection:
        return PatientConnection(dsn, connect_s=connect_s, patience_s=patience_s)

    # One by one: libpq goes on to the next host by a timeout of its own, which it has not where others wait for it.
    failed: psycopg2.OperationalError | None = None
    for host in _hosts(told):
        try:
            opened: PatientConnection = psycopg2.connect(connection_factory=factory, **told | host)
        except psycopg2.OperationalError as error:
            failed = error
        else:
            return opened
    raise failed or psycopg2.OperationalError("the URL names no host")


def _hosts(told: dict[str, Any]) -> list[dict[str, str]]:
    hosts, ports = str(told.get("host", "")).split(","), str(told.get("port", "")).split(",")
    if "hostaddr" in told or len(hosts) == 1:
        return [{}]
    if len(ports) == 1:
        ports *= len(hosts)
    return [{"host": host, "port": port or "5432"} for host, port in zip(hosts, ports, strict=True)]


def _wait(waiting: connection) -> None:
    patience: float | None = getattr(waiting, "patience_s", None)
    deadline = None if patience is None else monotonic() + patience
    while (state := waiting.poll()) != POLL_OK:
        left_ms = None if deadline is None else max(0.0, (deadline - monotonic()) * 1000)
        poller = select.poll()  # select() knows no more than 1,024 descriptors; libpq may change the descriptor
        poller.register(waiting.fileno(), _MASKS[state])
        if not poller.poll(left_ms):
            raise NoAnswerError(f"no answer within {patience:g} s")


set_wait_callback(_wait)
