"""Every setting; no other module reads the environment.

The text below a field describes it in the reference (``make docs-tables``). The names are the upper-cased field names.
Those of the system that Questline replaces are kept: ``DB_*``, ``GRPC_PORT``, ``METRICS_PORT``,
``BUFFER_FLUSH_INTERVAL``, ``BUFFER_MAX_SIZE``, ``DB_BATCH_SIZE``, ``AB_NAMESPACE``.
"""

from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from config.durations import Duration, at_least, at_most
from config.server_settings import Count, ServerSettings, UpToAnHour

_RETENTION_MARGIN = timedelta(days=2)


class Settings(ServerSettings):
    """The settings of one process. Field names are the environment's names in lower case."""

    # Inputs are hidden in errors because some are secrets, and a traceback would show them.
    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )

    # What we work on.
    shards: Annotated[int, Field(ge=1, le=1024)] = 16
    """How many shards users are spread over. Shared: the installation's once it has started; `questline shards`
    changes it.
    """
    shard_workers: Annotated[int, Field(ge=1, le=64)] = 2
    """How many shard workers `questline up` starts."""
    challenges_file: Path = Path(str(files("config") / "challenges.json"))
    """The goals; the shipped example where not set. A process that starts publishes it, unless it was published
    before; `questline rules publish FILE` needs no restart.
    """
    questline_data_dir: Path = Path(".questline")
    """Where `questline up` keeps its servers' data, passwords and logs, and `questline beat` its schedule."""
    ab_namespace: str | None = None
    """Take AccelByte events of this namespace only; others are acknowledged and counted as ignored."""
    rules_max_steps: Annotated[int, Field(ge=1, le=2_000)] = 1_000
    """What one event may cost Redis under a challenges file that is published, in steps of 7 to 9 µs: 1 to 2000.
    `questline rules validate` prints what an event costs.
    """
    rules_max_bytes: Annotated[int, Field(ge=1_024, le=1 << 20)] = 512 * 1024
    """How many bytes Redis may have to read and write for it: 1024 to 1048576."""
    # Loading a user looks into a partition for each day of two windows, and PostgreSQL has locks for some 6,000
    # tables and indexes by default: past this, some workers that load users at once have none left, and apply nothing.
    max_lateness: Annotated[Duration, at_least("1m"), at_most("365d")] = timedelta(days=7)
    """How old an event may be, up to `365d`. A duplicate is known for at least as long. Shared, as `SHARDS`."""
    record_ttl: Annotated[Duration, at_least("1s"), at_most("365d")] = timedelta(days=1)
    """How long a user's record stays in Redis after its last change is in PostgreSQL. Shared, as `SHARDS`."""

    # Group commit and journal.
    commit_linger: Annotated[Duration, at_most("5s")] = timedelta(milliseconds=5)
    """How long the first event of a group waits for company; 16 requests, 256 KiB or a full batch wait for none. At
    most 5s.
    """
    commit_max_events: Annotated[int, Field(ge=1, le=500)] = 250
    """Events in one batch."""
    journal_max_bytes: Annotated[int, Field(ge=65536, le=2**40)] = 256 * 1024 * 1024
    """How much accepted data may wait, in workers' queues and for PostgreSQL, before the receiver answers 503; each
    shard has its equal part, and a full one refuses only requests with events of it; a tenant that is alone may
    take four fifths.
    """
    journal_max_age: Annotated[Duration, at_least("1s"), at_most("7d")] = timedelta(minutes=15)
    """How long batches of a shard may be ready without a worker that takes any, before the receiver answers 503 for
    that shard. Batches that workers took and that wait for their next attempt do not count. At most 7d.
    """
    dirty_max_users: Count = 500_000
    """How many users may have changes that PostgreSQL lacks before the receiver answers 503; each shard has its
    equal part.
    """
    journal_sweep_interval: Annotated[UpToAnHour, at_least("100ms")] = timedelta(seconds=5)
    """How often maintenance runs: fences of rules, batches of a former release, undeliverable messages; at most 1h."""
    journal_retry_after: Annotated[UpToAnHour, at_least("100ms")] = timedelta(seconds=10)
    """How long a batch that a worker was given and did not apply waits before it is given again; twice as long
    after each attempt, up to 5 minutes.
    """
    journal_max_attempts: Annotated[int, Field(ge=1, le=1000)] = 6
    """Attempts by workers before a batch of one event becomes a dead letter; one of several events is taken apart
    after 3. Failures of Redis or PostgreSQL do not count, nor does waiting for a worker.
    """
    journal_replicas: Annotated[int, Field(ge=0, le=5)] = 0
    """How many replicas of the state Redis must have an event before it is answered with 202, 0 to 5; 503 where
    they do not within a second.
    """

    # Flush.
    buffer_flush_interval: Annotated[UpToAnHour, at_least("10ms")] = timedelta(seconds=1)
    """How often changes are written to PostgreSQL."""
    buffer_max_size: Count = 10_000
    """More users than this with unwritten changes start a flush at once."""
    db_batch_size: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Rows in one statement."""

    # What PostgreSQL keeps.
    evaluation_log: Literal["transitions", "all", "off"] = "transitions"
    """Which evaluations are kept in PostgreSQL: `transitions` of a goal's status, `all`, or none (`off`)."""
    event_retention: Annotated[Duration, at_most("36500d")] | None = None
    """How long events and evaluations are kept, at least twice `MAX_LATENESS` and 2 days; for ever where not set.
    Whole days are dropped. Shared, as `SHARDS`.
    """

    # Seeing.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug`, `info`, `warning` or `error`. At `info`, calls of more than 5 events are one line; `debug` logs
    every event.
    """
    apply_task_events: bool = False
    """Whether Flower sees the apply tasks too; they cost more than the task itself."""

    # Breaking things on purpose, on a test installation.
    failpoints_dir: Path | None = None
    """For `questline chaos` on a test installation only: the folder that says at which moments processes shall
    break.
    """

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
