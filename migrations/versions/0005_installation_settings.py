"""The settings that all processes of an installation share.

Safe while the code of the version before still runs: it does not know the table.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "installation_settings",
        sa.Column("only_row", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="there is one"),
        sa.Column(
            "installation_id",
            sa.Text(),
            nullable=False,
            comment="Redis has it too: which servers belong together",
        ),
        sa.Column("revision", sa.Integer(), nullable=False, comment="counts up by one"),
        sa.Column(
            "record",
            postgresql.JSONB(),
            nullable=False,
            comment="the settings all processes share, former ones, a change of them",
        ),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("only_row", name=op.f("ck_installation_settings_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_installation_settings")),
        comment="what all processes of the installation agree on; a process that differs does not start",
    )


def downgrade() -> None:
    op.drop_table("installation_settings")
