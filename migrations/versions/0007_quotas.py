"""Quotas of tenants and keys.

Safe while the code of the version before still runs: it does not know the table.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quotas",
        sa.Column("owner", sa.Text(), nullable=False, comment="tenant:<id> or key:<id>"),
        sa.Column(
            "events_per_second", sa.BigInteger(), nullable=True, comment="of the settings where null, none where 0"
        ),
        sa.Column("bytes_per_day", sa.BigInteger(), nullable=True, comment="likewise"),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_quotas")),
        comment="quotas that differ from those of the settings",
    )


def downgrade() -> None:
    op.drop_table("quotas")
