"""How the gRPC server listens, and what a connection and a call may take."""

from datetime import timedelta
from typing import NamedTuple

MAX_MESSAGE_BYTES = 64 * 1024
"""Of one message. Times ``MAX_CALLS`` it bounds what messages that have not come in full hold: 256 MiB."""
MAX_METADATA_BYTES = 16 * 1024
MAX_CALLS = 4_096
"""Calls whose message is awaited or in work at once, each tenant its share; the next one gets RESOURCE_EXHAUSTED."""
MAX_OPEN_CALLS = 4 * MAX_CALLS
"""Those that are being refused among them; gRPC itself refuses the next one."""

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Only "identity", by its bit: not every grpcio that we allow bounds what a compressed message unpacks to.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.max_concurrent_streams", 1_000),
    # By default gRPC drops calls at random once 1,000 wait to be looked at.
    ("grpc.server.max_pending_requests", MAX_OPEN_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_OPEN_CALLS),
    ("grpc.max_connection_idle_ms", 15 * 60_000),
    ("grpc.max_connection_age_ms", 60 * 60_000),  # so that connections spread over receivers that came later
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.keepalive_time_ms", 60_000),  # a client that vanished without a word is found out
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
)
"""The limits of a server's connections and calls, as its arguments."""


class GrpcSockets(NamedTuple):
    """How the server listens."""

    reuse_port: bool = False
    """Share the port with other receivers that do; gRPC's own default would share it in silence."""
    patience: timedelta = timedelta(seconds=10)
    """How long a client may take until its connection stands, and then until the message of a call has come."""
    tls: tuple[bytes, bytes] | None = None
    """The private key and the certificate chain in PEM; plain text where there is none."""
    stream_lifetime: timedelta = timedelta(minutes=5)
    """How long a health watch or a reflection stream lasts; its client asks again."""

    def options(self) -> tuple[tuple[str, int], ...]:
        """As arguments of a gRPC server."""
        handshake_ms = max(1, self.patience // timedelta(milliseconds=1))
        return (("grpc.so_reuseport", int(self.reuse_port)), ("grpc.server_handshake_timeout_ms", handshake_ms))
