"""The tables of PostgreSQL; migrations must lead to exactly these.

All times are ``timestamptz``. ``stamp`` is the shard's counter of changes (promise P5).
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

NEWEST_MIGRATION = "0008"
"""The migration that leads to these tables."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(column_0_label)s",
    }
)

user_goal_progress = Table(
    "user_goal_progress",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("goal_id", Text, primary_key=True),
    Column("period", Text, primary_key=True, comment="2026-11-21, 2026-W47 or 2026-11; empty without periods"),
    Column("challenge_id", Text, nullable=False),
    Column("progress", Numeric, nullable=False),
    Column("status", Text, nullable=False),
    Column("completed_at", DateTime(timezone=True), comment="event time of the completing event"),
    Column("rule_version", Integer, nullable=False),
    Column("operator", Text, nullable=False),
    Column("state", JSONB, nullable=False, comment="what the operator remembers"),
    Column("stamp", BigInteger, nullable=False, comment="only a higher stamp may overwrite the row"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("reached_at", DateTime(timezone=True), comment="event time at which the rule itself was met, locked or not"),
    Column(
        "slots",
        JSONB,
        nullable=False,
        server_default=text("'[]'::jsonb"),
        comment="states under other versions, while late events may move them",
    ),
    Column(
        "is_part",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="the row of a part of a goal or of its prerequisites, not of a goal",
    ),
    CheckConstraint("status IN ('in_progress', 'completed')", name="status"),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_at"),
    Index("ix_user_goal_progress_goal_id", "goal_id", "period"),
    # Rows are updated again and again; room on their page lets an update leave the indexes alone.
    postgresql_with={"fillfactor": 70},
)

events = Table(
    "events",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("occurred_at", DateTime(timezone=True), primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("source", Text, comment="the system that sent the event"),
    Column("value", Double),
    Column("increment", Double, comment="how far a statistic moved, where its sender says so"),
    Column("payload", JSONB),
    Column("accepted_at", DateTime(timezone=True), nullable=False),
    Column("applied_at", DateTime(timezone=True), nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("timezone", Text, comment="the user's IANA time zone at the event, where a rule or the sender says so"),
    Column("attributes", JSONB, comment="the user's attributes that rules asked for when the event was applied"),
    Column("rules_revision", Integer, comment="the newest publication that the worker knew when it applied the event"),
    comment="every accepted, distinct event; one partition a day of occurred_at",
    postgresql_partition_by="RANGE (occurred_at)",
)

unlocks = Table(
    "unlocks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("goal_id", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("challenge_id", Text, nullable=False),
    Column("rule_version", Integer, nullable=False),
    Column("event_id", Text, nullable=False, comment="the event that completed the goal"),
    Column("completed_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("event_type", Text, comment="of the completing event, as are source and occurred_at"),
    Column("source", Text),
    Column("occurred_at", DateTime(timezone=True)),
    comment="each completion once; the key is the gate for all that leaves the system",
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True, comment="the event's id, by which it is deduplicated"),
    Column("goal_id", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("evaluated_at", DateTime(timezone=True), primary_key=True, comment="processing time"),
    Column("event_type", Text, nullable=False),
    Column("source", Text),
    Column("occurred_at", DateTime(timezone=True), nullable=False, comment="event time"),
    Column("challenge_id", Text, nullable=False),
    Column("rule_version", Integer, nullable=False),
    Column("progress_before", Numeric),
    Column("progress_after", Numeric),
    Column("status_before", Text, nullable=False),
    Column("status", Text, nullable=False, comment="after the event"),
    Column("decision", Text, nullable=False, comment="started, advanced, completed, reached or unchanged"),
    Index("ix_evaluations_goal_id", "goal_id", "evaluated_at"),
    comment="what events did to goals; which of them EVALUATION_LOG says; one partition a day of evaluated_at",
    postgresql_partition_by="RANGE (evaluated_at)",
)

user_attributes = Table(
    "user_attributes",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("attributes", JSONB, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    comment="what segments and the time zone 'user' look at",
)

rule_publications = Table(
    "rule_publications",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False, comment="counts up by one"),
    Column("active_from", DateTime(timezone=True), nullable=False, comment="event time; 1970 for the first"),
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("digest", Text, nullable=False, comment="SHA-256 of the document's bytes"),
    Column("source", Text, nullable=False, comment="the file it was read from"),
    Column("document", Text, nullable=False, comment="the whole challenges file"),
    Column("versions", JSONB, nullable=False, comment="goal id to version"),
    Column(
        "goals",
        JSON(none_as_null=True),  # not JSONB, which would put the keys of a reward in another order
        comment="what the file says of each goal beside its meaning; null where a release before 0.2 published it",
    ),
    Index("ix_rule_publications_digest", "digest"),
    comment="challenges files as they were published: the newest one active at an event's time holds for it",
)

rule_versions = Table(
    "rule_versions",
    metadata,
    Column("goal_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False, comment="fingerprint of the goal's meaning"),
    Column("definition", JSONB, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("policy", Text, comment="what becomes of progress under the version before; null for the first"),
    Column("active_from", DateTime(timezone=True), comment="event time from which on it holds"),
    Column("revision", Integer, comment="the publication that brought it"),
    comment="immutable: a changed meaning is a new version",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False, comment="row, event, unlock, evaluation, batch or message"),
    Column("reason", Text, nullable=False, comment="a code that does not change"),
    Column("tenant_id", Text),
    Column("user_id", Text),
    Column("shard", SmallInteger),
    Column("batch_id", Text),
    Column("event_ids", ARRAY(Text), nullable=False),
    Column("raw", LargeBinary, nullable=False, comment="msgpack: the batch, or the refused row; a message as it was"),
    Column("error", Text, nullable=False, comment="what went wrong, in words"),
    Column("attempts", Integer, nullable=False),
    Column("first_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_seen", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("task", Text, comment="the name of the Celery task"),
    Column("exception", Text, comment="the exception's type"),
    Column("traceback", Text),
    Column("fingerprint", LargeBinary, comment="SHA-256 of kind, reason and raw: the same fault is one letter"),
    CheckConstraint("kind IN ('row', 'event', 'unlock', 'evaluation', 'batch', 'message')", name="kind"),
    Index("ix_dead_letters_first_seen", "first_seen"),
    Index("ix_dead_letters_fingerprint", "fingerprint", unique=True),
    Index("ix_dead_letters_kind", "kind", "reason"),
    comment="what could not be processed, with its reason (promise P10)",
)

probes = Table(
    "probes",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False, comment="when the probe set out, in microseconds"),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    comment="the newest probe of each shard that went the whole way from the receiver",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True, comment="the part of a key that is no secret"),
    Column("tenant_id", Text, nullable=False, comment="* for an operator of all tenants"),
    Column("scope", Text, nullable=False, comment="ingest, read or admin"),
    Column("secret_hash", LargeBinary, nullable=False, comment="SHA-256 of the secret part"),
    Column("note", Text),
    Column("rate_limit", Integer, comment="requests a second; RATE_LIMIT where null"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True), comment="to about a minute"),
    Column("replaced_by", Text, comment="the key that it was rotated to"),
    CheckConstraint("scope IN ('ingest', 'read', 'admin')", name="scope"),
    comment="who may come in; once there is a row, nobody may without a key",
)

shard_histories = Table(
    "shard_histories",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("flush_number", BigInteger, nullable=False, comment="counts the flushes of the shard; 0 before the first"),
    Column("flush_token", Text, nullable=False, comment="drawn for the flush; the state Redis knows it as well"),
    Column("log_version", BigInteger, nullable=False, comment="every event applied up to this version is in events"),
    Column("row_version", BigInteger, nullable=False, comment="no row of the shard was written with a higher version"),
    Column("flushed_events", BigInteger, nullable=False, comment="how many events all flushes of the shard wrote"),
    Column("event_rate", Double, nullable=False, comment="events a second of the last flushes"),
    Column("flushed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    comment="the last flush of each shard: by it PostgreSQL and Redis tell whether the other one went back in time",
)

installation_settings = Table(
    "installation_settings",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=true(), comment="there is one"),
    Column("installation_id", Text, nullable=False, comment="Redis has it too: which servers belong together"),
    Column("revision", Integer, nullable=False, comment="counts up by one"),
    Column("record", JSONB, nullable=False, comment="the settings all processes share, former ones, a change of them"),
    Column("changed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("only_row", name="only_row"),
    comment="what all processes of the installation agree on; a process that differs does not start",
)

quotas = Table(
    "quotas",
    metadata,
    Column("owner", Text, primary_key=True, comment="tenant:<id> or key:<id>"),
    Column("events_per_second", BigInteger, comment="of the settings where null, none where 0"),
    Column("bytes_per_day", BigInteger, comment="likewise"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    comment="quotas that differ from those of the settings",
)
