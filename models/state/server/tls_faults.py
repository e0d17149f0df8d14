"""Faults of TLS in words that hold no address and no name."""

import socket
import ssl

from redis.connection import ConnectionPool

_OF_ANOTHER_NAME = frozenset({62, 64})
"""OpenSSL's codes for a certificate of another host name or address."""
_EXPIRED = 10
_TIMEOUT_S = 2.0


def tls_fault(error: BaseException) -> str | None:
    """What TLS refused at the root of an error; ``None`` where it is about anything else."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return f"no TLS connection: {_reason(cause)}"
    if cause.verify_code in _OF_ANOTHER_NAME:
        return "its certificate is for another name: write the URL with the name in the certificate"
    if cause.verify_code == _EXPIRED:
        return "its certificate has expired"
    return "its certificate is not trusted: name the authority's certificate in REDIS_CA_FILE"


def speaks_tls(pool: ConnectionPool) -> bool:
    """Whether a server that closed a plain connection speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only asked whether it speaks it; nothing is sent
    try:
        with _connected(pool) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def speaks_plain(pool: ConnectionPool) -> bool:
    """Whether a server that did not answer to TLS speaks without it."""
    try:
        with _connected(pool) as plain:
            plain.sendall(b"PING\r\n")
            return plain.recv(1) in {b"+", b"-"}
    except OSError:
        return False


def _connected(pool: ConnectionPool) -> socket.socket:
    options = pool.connection_kwargs
    if "host" not in options:
        raise OSError("it is reached by Sentinels or a socket")
    return socket.create_connection((options["host"], options.get("port", 6379)), timeout=_TIMEOUT_S)


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "it was refused").lower().replace("_", " ")
