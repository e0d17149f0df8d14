"""Every setting of the product, read once from the environment; no other module reads the environment.

The names are the upper-cased field names. Those of the system that Questline replaces are kept: ``DB_*``,
``GRPC_PORT``, ``METRICS_PORT``, ``BUFFER_FLUSH_INTERVAL``, ``BUFFER_MAX_SIZE``, ``DB_BATCH_SIZE``, ``AB_NAMESPACE``.
"""

from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, ByteSize, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from config.database_settings import DatabaseSettings
from config.database_urls import Port
from config.durations import Duration, at_least, at_most
from config.redis_urls import RedisUrl, with_ca_file

Count = Annotated[int, Field(ge=1, le=10**9)]
UpToAnHour = Annotated[Duration, at_most("1h")]
_RETENTION_MARGIN = timedelta(days=2)


class Settings(DatabaseSettings):
    """The settings of one process. Field names are the environment's names in lower case."""

    # Inputs are hidden in errors because some are secrets, and a traceback would show them.
    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    # Where the servers are. Without a URL, it is the embedded one that `questline up` starts.
    broker_url: RedisUrl | None = None
    state_url: RedisUrl | None = None
    redis_ca_file: Path | None = None

    # Where we listen.
    http_host: str = "127.0.0.1"
    http_port: Port = 8000
    grpc_port: Port = 6566
    metrics_port: Port = 8081
    flower_port: Port = 5555
    flower_user: str = "questline"
    flower_password: str | None = None
    flower_control: bool = False
    flower_hosts: str | None = None
    reuse_port: bool = False

    # Who may come in.
    api_key: str | None = None
    rate_limit: Count | None = None
    quota_events: Annotated[int, Field(ge=0, le=1_000_000_000)] = 50_000
    redis_maxmemory: Annotated[ByteSize, Field(ge=64 * 1024**2, le=2**50)] | None = None
    new_users_per_hour: Annotated[int, Field(ge=0, le=1_000_000_000)] = 1_000_000
    quota_bytes: Annotated[ByteSize, Field(ge=0, le=2**50)] = ByteSize(200 * 1024**3)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    request_timeout: Annotated[UpToAnHour, at_least("100ms")] = timedelta(seconds=10)

    # What we work on.
    shards: Annotated[int, Field(ge=1, le=1024)] = 16
    shard_workers: Annotated[int, Field(ge=1, le=64)] = 2
    challenges_file: Path = Path(str(files("config") / "challenges.json"))
    questline_data_dir: Path = Path(".questline")
    ab_namespace: str | None = None
    rules_max_steps: Annotated[int, Field(ge=1, le=2_000)] = 1_000
    rules_max_bytes: Annotated[int, Field(ge=1_024, le=1 << 20)] = 512 * 1024
    # Loading a user looks into a partition for each day of two windows, and PostgreSQL has locks for some 6,000
    # tables and indexes by default: past this, some workers that load users at once have none left, and apply nothing.
    max_lateness: Annotated[Duration, at_least("1m"), at_most("365d")] = timedelta(days=7)
    record_ttl: Annotated[Duration, at_least("1s"), at_most("365d")] = timedelta(days=1)

    # Group commit and journal.
    commit_linger: Annotated[Duration, at_most("5s")] = timedelta(milliseconds=5)
    commit_max_events: Annotated[int, Field(ge=1, le=500)] = 250
    journal_max_bytes: Annotated[int, Field(ge=65536, le=2**40)] = 256 * 1024 * 1024
    journal_max_age: Annotated[Duration, at_least("1s"), at_most("7d")] = timedelta(minutes=15)
    dirty_max_users: Count = 500_000
    journal_sweep_interval: Annotated[UpToAnHour, at_least("100ms")] = timedelta(seconds=5)
    journal_retry_after: Annotated[UpToAnHour, at_least("100ms")] = timedelta(seconds=10)
    journal_max_attempts: Annotated[int, Field(ge=1, le=1000)] = 6
    journal_replicas: Annotated[int, Field(ge=0, le=5)] = 0

    # Flush.
    buffer_flush_interval: Annotated[UpToAnHour, at_least("10ms")] = timedelta(seconds=1)
    buffer_max_size: Count = 10_000
    db_batch_size: Annotated[int, Field(ge=1, le=10_000)] = 1_000

    # What PostgreSQL keeps.
    evaluation_log: Literal["transitions", "all", "off"] = "transitions"
    event_retention: Annotated[Duration, at_most("36500d")] | None = None

    # Seeing.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    apply_task_events: bool = False

    # Breaking things on purpose, on a test installation.
    failpoints_dir: Path | None = None

    @field_validator("event_retention")
    @classmethod
    def _keeps_what_loading_needs(cls, retention: timedelta | None, info: ValidationInfo) -> timedelta | None:
        """A record that is loaded from PostgreSQL needs the ids of the events of two windows."""
        needed = 2 * info.data.get("max_lateness", timedelta()) + _RETENTION_MARGIN
        if retention is not None and retention < needed:
            raise ValueError(f"must be at least {needed / timedelta(days=1):g}d, twice MAX_LATENESS and 2 days")
        return retention

    @classmethod
    def names(cls) -> list[str]:
        """The names of all settings in the environment."""
        aliases = (field.validation_alias for field in cls.model_fields.values())
        return [
            str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()
            for name, alias in zip(cls.model_fields, aliases, strict=True)
        ]

    def tenant_or_default(self, tenant: str | None) -> str:
        """The tenant that a command looks at: the one given, else ``AB_NAMESPACE``, else ``default``."""
        return tenant or self.ab_namespace or "default"

    @property
    def broker(self) -> str:
        """The broker's URL; the state Redis where no other is named."""
        return with_ca_file(self.broker_url or self.state_url or "redis://127.0.0.1:6379/0", self.redis_ca_file)

    @property
    def state(self) -> str:
        """The state Redis' URL; the broker where no other is named."""
        return with_ca_file(self.state_url or self.broker_url or "redis://127.0.0.1:6379/0", self.redis_ca_file)
