"""Connections to state and broker by URL, for redis-py and kombu.

Each new connection looks at what has answered. The greeting of RESP3 (HELLO) tells it, so that costs nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from config.redis_urls import read_sentinels

_OF_TCP = frozenset({"socket_connect_timeout", "socket_keepalive", "socket_keepalive_options"})
SENTINEL_TIMEOUT = 1.0
"""Seconds until the next Sentinel is asked. They answer from memory, and the callers wait."""


class UnfitServerError(RedisConnectionError):
    """What has answered is no Redis that Questline can work with."""


class ClusterError(UnfitServerError):
    """A node of a Redis Cluster."""

    def __init__(self) -> None:
        super().__init__(
            "this is a node of a Redis Cluster, which is not supported: name a server without cluster mode, "
            "or Sentinels as sentinel://"
        )


class SentinelGivenError(UnfitServerError):
    """A Sentinel instead of a server."""

    def __init__(self) -> None:
        super().__init__(
            "this is a Sentinel, which holds no data: write sentinel://:PASSWORD@HOST:26379,HOST:26379/SERVICE/0"
        )


class ServerGivenError(UnfitServerError):
    """A server instead of a Sentinel."""

    def __init__(self) -> None:
        super().__init__("this is no Sentinel: write redis:// or rediss:// for a server itself")


class ReplicaGivenError(UnfitServerError):
    """A replica instead of its master. It may be promoted later, or a failover may be under way."""

    def __init__(self) -> None:
        super().__init__("this is a replica, which takes no writes: name its master, or Sentinels as sentinel://")


class RedisServer:
    """A Redis by its URL; contacts nothing by itself."""

    def __init__(self, url: str) -> None:
        """Read a URL that ``config.redis_urls`` has checked.

        Raises:
            ValueError: an option of the URL has a wrong value.
        """
        self._sentinels = read_sentinels(url)
        self._options = _read_options(url if self._sentinels is None else self._sentinels.server_url)
        own_class = cast("type[Connection]", self._options.pop("connection_class", Connection))
        self._has_tls = issubclass(own_class, SSLConnection)
        self.connection_class: type[Any] = own_class
        """The class of its connections, which kombu extends by its own."""
        if self._sentinels is not None:
            self.connection_class = SentinelManagedSSLConnection if self._has_tls else SentinelManagedConnection

    @property
    def database(self) -> int:
        """The number of its database."""
        return int(self._options.get("db", 0))

    def pool(self, *, connection_class: type[Any] | None = None, **defaults: Any) -> ConnectionPool:
        """Connections to it; what the URL itself says goes before the ``defaults``."""
        options = {
            **defaults,
            **self._options,
            "connection_class": connection_class or self.connection_class,
            "redis_connect_func": greet,
        }
        if issubclass(self.connection_class, UnixDomainSocketConnection):
            options = {name: value for name, value in options.items() if name not in _OF_TCP}
        if self._sentinels is None:
            return ConnectionPool(**options)
        options.pop("host")
        of = self._sentinels.service
        return _FollowingPool(of, self.sentinel_clients(), **options)  # type: ignore[no-untyped-call]

    def sentinel_clients(self) -> "SentinelClients | None":
        """The Sentinels, each with a client of its own; ``None`` where the URL names a server."""
        if self._sentinels is None:
            return None
        tls = {name: value for name, value in self._options.items() if name.startswith("ssl_")}
        return SentinelClients(  # type: ignore[no-untyped-call]
            list(self._sentinels.hosts),
            sentinel_kwargs={
                "username": self._sentinels.username,
                "password": self._sentinels.password,
                "socket_timeout": SENTINEL_TIMEOUT,
                "socket_connect_timeout": SENTINEL_TIMEOUT,
                "retry": Retry(NoBackoff(), 0),
                "redis_connect_func": _greet_sentinel,
                **({"ssl": True, **tls} if self._has_tls else {}),
            },
        )


class SentinelClients(Sentinel):
    """redis-py's Sentinels, whose errors are short enough for a log."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the master.

        Raises:
            MasterNotFoundError: no Sentinel names one that is up.
            ServerGivenError: what was asked is no Sentinel.
        """
        try:
            host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            if ServerGivenError.__name__ in str(error):
                raise ServerGivenError from error
            raise MasterNotFoundError(f"no Sentinel names a master that is up{_reason(str(error))}") from error
        return host, port


_REASONS = {
    "CERTIFICATE_VERIFY_FAILED": "their certificate is not trusted, or for another name",
    "NOAUTH": "they want a password, as sentinel_password",
    "WRONGPASS": "they want another password, as sentinel_password",
    "AuthenticationError": "they want another password, as sentinel_password",
}


def _reason(told: str) -> str:
    """Why Sentinels do not answer, read from what redis-py has gathered of them; without addresses."""
    return next((f": {reason}" for word, reason in _REASONS.items() if word in told), "")


class _FollowingPool(SentinelConnectionPool):
    """Connections to whichever server is the master. Closed as a whole, it closes those to the Sentinels as well."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:
            self.sentinel_manager.close()


def greet(connection: Any) -> None:
    """Open a connection as redis-py does, and look at what has answered.

    Raises:
        UnfitServerError: it is nothing for us.
    """
    connection.on_connect()
    refuse_unfit(connection.handshake_metadata)


def _greet_sentinel(connection: Any) -> None:
    connection.on_connect()
    if _words(connection.handshake_metadata).get("mode") not in {"sentinel", None}:
        raise ServerGivenError


def refuse_unfit(told: Mapping[Any, Any] | None) -> None:
    """Judge a server by its reply to HELLO; one that tells nothing passes.

    Raises:
        UnfitServerError: it is a Sentinel, a node of a cluster or a replica.
    """
    words = _words(told)
    if words.get("mode") == "sentinel":
        raise SentinelGivenError
    if words.get("mode") == "cluster":
        raise ClusterError
    if words.get("role") in {"replica", "slave"}:
        raise ReplicaGivenError


def _words(told: Mapping[Any, Any] | None) -> dict[Any, Any]:
    return {_text(name): _text(value) for name, value in (told or {}).items()}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


_CERT_REQS: Mapping[str, str] = {f"CERT_{word.upper()}": word for word in ("none", "optional", "required")}
"""As kombu reads them; redis-py has its own words."""
_READERS: Mapping[str, Callable[[Any], Any]] = {"ssl_cert_reqs": lambda value: _CERT_REQS.get(value, value)}


def _read_options(url: str) -> dict[str, Any]:
    told: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    return {name: _READERS.get(name, _as_it_is)(value) for name, value in told.items()}


def _as_it_is(value: Any) -> Any:
    return value
