"""Channels of our gRPC clients to the receiver: plain, or TLS."""

import socket
from typing import NamedTuple

import grpc

from cli.client.trust import client_context, server_certificate
from config.settings import Settings
from models.errors import ReceiverUnavailableError

_HANDSHAKE_S = 5


class Channel(NamedTuple):
    """Where a channel leads, and how it is secured."""

    address: str
    credentials: grpc.ChannelCredentials | None = None
    options: tuple[tuple[str, str], ...] = ()

    def open(self) -> grpc.Channel:
        """A channel for threads."""
        if self.credentials is None:
            return grpc.insecure_channel(self.address, self.options)
        return grpc.secure_channel(self.address, self.credentials, self.options)

    def open_async(self) -> grpc.aio.Channel:
        """A channel for coroutines."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.address, self.options)
        return grpc.aio.secure_channel(self.address, self.credentials, self.options)


def channel_to(address: str, settings: Settings) -> Channel:
    """The channel to the product of these settings.

    Raises:
        ConfigurationError: TLS_CERT holds no certificate, or cannot be read.
        ReceiverUnavailableError: there is no answer.
    """
    if settings.tls_cert is None:
        return Channel(address)
    roots = server_certificate(settings.tls_cert).encode()
    name = _name_at(address, settings)
    return Channel(address, grpc.ssl_channel_credentials(roots), (("grpc.ssl_target_name_override", name),))


def _name_at(address: str, settings: Settings) -> str:
    """A name that the server's certificate has, since gRPC insists on one; only the certificate we trust is asked."""
    host, _, port = address.rpartition(":")
    context = client_context(settings)
    assert context is not None  # noqa: S101 - for the type checker: TLS_CERT is set
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_HANDSHAKE_S) as plain,
            context.wrap_socket(plain) as secured,
        ):
            shown = secured.getpeercert() or {}
    except OSError as error:
        raise ReceiverUnavailableError(f"no answer from {address}: {error}; is `questline up` running?") from error
    names = [pair[1] for pair in shown.get("subjectAltName", ()) if isinstance(pair[1], str)]
    return names[0].replace("*", "any") if names else host
