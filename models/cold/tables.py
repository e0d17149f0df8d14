"""The tables of PostgreSQL, as SQLAlchemy describes them. Migrations must lead to exactly these.

All times are ``timestamptz``. ``stamp`` is the shard's counter of changes (promise P5).
"""

from sqlalchemy import (
    BigInteger,
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
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

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
    Column("period", Text, primary_key=True, comment="2026-11-21 for a daily goal; empty without periods"),
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
    comment="each completion once; the key is the gate for all that leaves the system",
)

rule_versions = Table(
    "rule_versions",
    metadata,
    Column("goal_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False, comment="fingerprint of the goal's meaning"),
    Column("definition", JSONB, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    comment="immutable: a changed meaning is a new version",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False, comment="row, event, unlock or batch"),
    Column("reason", Text, nullable=False, comment="a code that does not change"),
    Column("tenant_id", Text),
    Column("user_id", Text),
    Column("shard", SmallInteger),
    Column("batch_id", Text),
    Column("event_ids", ARRAY(Text), nullable=False),
    Column("raw", LargeBinary, nullable=False, comment="msgpack: the batch, or the refused row"),
    Column("error", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("kind IN ('row', 'event', 'unlock', 'batch')", name="kind"),
    Index("ix_dead_letters_created_at", "created_at"),
    comment="what could not be processed, with its reason (promise P10)",
)
