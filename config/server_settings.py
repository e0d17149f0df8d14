"""Settings of servers, addresses and access."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import ByteSize, Field

from config.database_settings import DatabaseSettings
from config.database_urls import Port
from config.durations import Duration, at_least, at_most
from config.redis_urls import RedisUrl, with_ca_file

Count = Annotated[int, Field(ge=1, le=10**9)]
UpToAnHour = Annotated[Duration, at_most("1h")]


class ServerSettings(DatabaseSettings):
    """What a process needs to know before it knows anything of events."""

    # Where the servers are. Without a URL, it is the embedded one that `questline up` starts.
    broker_url: RedisUrl | None = None
    """Redis for Celery's queues, as `redis://:password@host:6379/0`, `rediss://…` with TLS, or
    `sentinel://:password@host:26379,host:26379/service/0` and `sentinels://…` with TLS; the state Redis
    where not set.
    """
    state_url: RedisUrl | None = None
    """Redis for journal and progress; the broker where not set. Neither set: `questline up` starts its own."""
    redis_ca_file: Path | None = None
    """The certificates in PEM that sign those of Redis and its Sentinels, beside the system's; for `rediss://` and
    `sentinels://`.
    """

    # Where we listen.
    http_host: str = "127.0.0.1"
    """The address that HTTP, gRPC, metrics and Flower listen on; refused while there is no API key, unless it is
    loopback.
    """
    http_port: Port = 8000
    """HTTP: events, progress, health, OpenAPI."""
    grpc_port: Port = 6566
    """gRPC: the AccelByte event services, health, reflection."""
    metrics_port: Port = 8081
    """Prometheus metrics of the whole fleet, at `/metrics`."""
    flower_port: Port = 5555
    """Flower."""
    flower_user: str = "questline"
    """Flower's user."""
    flower_password: str | None = None
    """Flower's password; `questline up` generates one, `questline flower` alone refuses to start without."""
    flower_control: bool = False
    """Whether Flower may change workers and tasks; it only shows them otherwise."""
    flower_hosts: str | None = None
    """Names, with commas between, that Flower may be asked by in a browser, beside addresses, `localhost`,
    `HTTP_HOST` and the name of its machine; others are answered 421.
    """
    reuse_port: bool = False
    """Whether several receivers of one machine may listen on the same ports, as for a rolling restart; the kernel
    spreads connections over them.
    """

    # API keys and their limits.
    api_key: str | None = None
    """The key that client commands send to the product."""
    rate_limit: Count | None = None
    """Requests a second that one key may make of one receiver, unless the key has a limit of its own; not limited
    where not set.
    """
    quota_events: Annotated[int, Field(ge=0, le=1_000_000_000)] = 50_000
    """Events a second that a tenant may send to one receiver, over any ten seconds; 0 for no bound. `questline
    quotas` gives tenants and keys others.
    """
    redis_maxmemory: Annotated[ByteSize, Field(ge=64 * 1024**2, le=2**50)] | None = None
    """What the Redis or Valkey that `questline up` starts may use, such as `2GiB`; unset, a quarter of the
    machine's memory, 512 MiB at least and 16 GiB at most. Others have a `maxmemory` of their own.
    """
    new_users_per_hour: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1_000_000
    """New users of a tenant in an hour, over all receivers; beyond it events of further new users are a 429, those
    of users in Redis are taken. 0 for no bound.
    """
    quota_bytes: Annotated[ByteSize, Field(ge=0, le=2**50)] = ByteSize(200 * 1024**3)
    """Bytes a day (of UTC) that a tenant may send to all receivers, such as `50GiB`; 0 for no bound."""
    tls_cert: Path | None = None
    """A certificate chain in PEM: HTTP, gRPC, metrics and Flower speak TLS then."""
    tls_key: Path | None = None
    """Its private key in PEM."""
    request_timeout: Annotated[UpToAnHour, at_least("100ms")] = timedelta(seconds=10)
    """How long a client may take to send the head, or the body, of a request."""

    @property
    def broker(self) -> str:
        """The broker's URL; the state Redis where no other is named."""
        return with_ca_file(self.broker_url or self.state_url or "redis://127.0.0.1:6379/0", self.redis_ca_file)

    @property
    def state(self) -> str:
        """The state Redis' URL; the broker where no other is named."""
        return with_ca_file(self.state_url or self.broker_url or "redis://127.0.0.1:6379/0", self.redis_ca_file)
