"""The last flush of each shard, by which a store that went back in time is noticed.

Safe while the code of the version before still runs: a new table, which that code does not know.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shard_histories",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "flush_number",
            sa.BigInteger(),
            nullable=False,
            comment="counts the flushes of the shard; 0 before the first",
        ),
        sa.Column(
            "flush_token", sa.Text(), nullable=False, comment="drawn for the flush; the state Redis knows it as well"
        ),
        sa.Column(
            "log_version",
            sa.BigInteger(),
            nullable=False,
            comment="every event applied up to this version is in events",
        ),
        sa.Column(
            "row_version",
            sa.BigInteger(),
            nullable=False,
            comment="no row of the shard was written with a higher version",
        ),
        sa.Column(
            "flushed_events",
            sa.BigInteger(),
            nullable=False,
            comment="how many events all flushes of the shard wrote",
        ),
        sa.Column("event_rate", sa.Double(), nullable=False, comment="events a second of the last flushes"),
        sa.Column("flushed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_shard_histories")),
        comment="the last flush of each shard: by it PostgreSQL and Redis tell whether the other one went back in time",
    )


def downgrade() -> None:
    op.drop_table("shard_histories")
