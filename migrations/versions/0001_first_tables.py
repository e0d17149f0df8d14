"""Progress, events, unlocks, rule versions, dead letters.

One change, reversible, and safe while the code of the version before still runs.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="row, event, unlock or batch"),
        sa.Column("reason", sa.Text(), nullable=False, comment="a code that does not change"),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("shard", sa.SmallInteger(), nullable=True),
        sa.Column("batch_id", sa.Text(), nullable=True),
        sa.Column("event_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False, comment="msgpack: the batch, or the refused row"),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('row', 'event', 'unlock', 'batch')", name=op.f("ck_dead_letters_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        comment="what could not be processed, with its reason (promise P10)",
    )
    op.create_index("ix_dead_letters_created_at", "dead_letters", ["created_at"], unique=False)
    op.create_table(
        "events",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True, comment="the system that sent the event"),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column(
            "increment",
            sa.Double(),
            nullable=True,
            comment="how far a statistic moved, where its sender says so",
        ),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "event_id", "occurred_at", name=op.f("pk_events")),
        comment="every accepted, distinct event; one partition a day of occurred_at",
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_table(
        "rule_versions",
        sa.Column("goal_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="fingerprint of the goal's meaning"),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("goal_id", "version", name=op.f("pk_rule_versions")),
        comment="immutable: a changed meaning is a new version",
    )
    op.create_table(
        "unlocks",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("goal_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("challenge_id", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False, comment="the event that completed the goal"),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "goal_id", "period", name=op.f("pk_unlocks")),
        comment="each completion once; the key is the gate for all that leaves the system",
    )
    op.create_table(
        "user_goal_progress",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("goal_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False, comment="2026-11-21 for a daily goal; empty without periods"),
        sa.Column("challenge_id", sa.Text(), nullable=False),
        sa.Column("progress", sa.Numeric(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "completed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="event time of the completing event",
        ),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column(
            "state",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="what the operator remembers",
        ),
        sa.Column("stamp", sa.BigInteger(), nullable=False, comment="only a higher stamp may overwrite the row"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(status = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("ck_user_goal_progress_completed_at"),
        ),
        sa.CheckConstraint("status IN ('in_progress', 'completed')", name=op.f("ck_user_goal_progress_status")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "goal_id", "period", name=op.f("pk_user_goal_progress")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("ix_user_goal_progress_goal_id", "user_goal_progress", ["goal_id", "period"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_user_goal_progress_goal_id", table_name="user_goal_progress")
    op.drop_table("user_goal_progress")
    op.drop_table("unlocks")
    op.drop_table("rule_versions")
    op.drop_table("events")
    op.drop_index("ix_dead_letters_created_at", table_name="dead_letters")
    op.drop_table("dead_letters")
