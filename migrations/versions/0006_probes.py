"""The newest probe of each shard that came to PostgreSQL.

Safe while the code of the version before still runs: the table is new.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "probes",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="when the probe set out, in microseconds"),
        sa.Column("written_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_probes")),
        comment="the newest probe of each shard that went the whole way from the receiver",
    )


def downgrade() -> None:
    op.drop_table("probes")
