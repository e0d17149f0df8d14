"""API keys, and what dead letters say of their cause.

Safe while the code of the version before still runs: what is new on its table may be left out.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_KINDS = ("row", "event", "unlock", "evaluation", "batch")


def upgrade() -> None:
    op.drop_index("ix_dead_letters_created_at", table_name="dead_letters")
    op.alter_column("dead_letters", "created_at", new_column_name="first_seen")
    op.create_index("ix_dead_letters_first_seen", "dead_letters", ["first_seen"], unique=False)
    op.add_column("dead_letters", sa.Column("last_seen", _TIME, server_default=sa.text("now()"), nullable=False))
    op.add_column("dead_letters", sa.Column("task", sa.Text(), comment="the name of the Celery task"))
    op.add_column("dead_letters", sa.Column("exception", sa.Text(), comment="the exception's type"))
    op.add_column("dead_letters", sa.Column("traceback", sa.Text()))
    op.add_column(
        "dead_letters",
        sa.Column(
            "fingerprint", sa.LargeBinary(), comment="SHA-256 of kind, reason and raw: the same fault is one letter"
        ),
    )
    op.execute("UPDATE dead_letters SET last_seen = first_seen")
    op.create_index("ix_dead_letters_fingerprint", "dead_letters", ["fingerprint"], unique=True)
    op.create_index("ix_dead_letters_kind", "dead_letters", ["kind", "reason"], unique=False)
    _comment("error", sa.Text(), "what went wrong, in words")
    _comment("raw", sa.LargeBinary(), "msgpack: the batch, or the refused row; a message as it was")
    _kinds_of_dead_letters(*_KINDS, "message")
    _create_keys()


def downgrade() -> None:
    op.drop_table("api_keys")
    op.execute("DELETE FROM dead_letters WHERE kind = 'message'")
    _kinds_of_dead_letters(*_KINDS)
    _comment("raw", sa.LargeBinary(), "msgpack: the batch, or the refused row")
    _comment("error", sa.Text(), None)
    op.drop_index("ix_dead_letters_kind", table_name="dead_letters")
    op.drop_index("ix_dead_letters_fingerprint", table_name="dead_letters")
    for name in ("fingerprint", "traceback", "exception", "task", "last_seen"):
        op.drop_column("dead_letters", name)
    op.drop_index("ix_dead_letters_first_seen", table_name="dead_letters")
    op.alter_column("dead_letters", "first_seen", new_column_name="created_at")
    op.create_index("ix_dead_letters_created_at", "dead_letters", ["created_at"], unique=False)


def _create_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False, comment="the part of a key that is no secret"),
        sa.Column("tenant_id", sa.Text(), nullable=False, comment="* for an operator of all tenants"),
        sa.Column("scope", sa.Text(), nullable=False, comment="ingest, read or admin"),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the secret part"),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column(
            "rate_limit",
            sa.Integer(),
            nullable=True,
            comment="requests a second; RATE_LIMIT where null",
        ),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.Column("last_used_at", _TIME, nullable=True, comment="to about a minute"),
        sa.Column("replaced_by", sa.Text(), nullable=True, comment="the key that it was rotated to"),
        sa.CheckConstraint("scope IN ('ingest', 'read', 'admin')", name=op.f("ck_api_keys_scope")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
        comment="who may come in; once there is a row, nobody may without a key",
    )


def _comment(column: str, kind: sa.types.TypeEngine[str] | sa.types.TypeEngine[bytes], comment: str | None) -> None:
    op.alter_column("dead_letters", column, existing_type=kind, existing_nullable=False, comment=comment)


def _kinds_of_dead_letters(*kinds: str) -> None:
    op.drop_constraint(op.f("ck_dead_letters_kind"), "dead_letters", type_="check")
    op.create_check_constraint(op.f("ck_dead_letters_kind"), "dead_letters", sa.column("kind").in_(kinds))
    _comment("kind", sa.Text(), f"{', '.join(kinds[:-1])} or {kinds[-1]}")
