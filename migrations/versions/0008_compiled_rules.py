"""What a publication says of its goals beside their meaning, so that no process parses its text again.

Safe while the code of the version before still runs: it leaves the column empty, and the text is parsed then.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_COMMENT = "what the file says of each goal beside its meaning; null where a release before 0.2 published it"


def upgrade() -> None:
    op.add_column("rule_publications", sa.Column("goals", sa.JSON(), comment=_COMMENT))


def downgrade() -> None:
    op.drop_column("rule_publications", "goals")
