"""Publications of rules, evaluations, users' attributes, and what rows, events and unlocks say of them.

Safe while the code of the version before still runs: what is new on its tables may be left out.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    _extend_progress()
    _extend_events()
    _extend_unlocks()
    _extend_versions()
    _create_evaluations()
    _create_publications()
    _create_attributes()
    _kinds_of_dead_letters("row", "event", "unlock", "evaluation", "batch")


def downgrade() -> None:
    op.execute("DELETE FROM dead_letters WHERE kind = 'evaluation'")
    _kinds_of_dead_letters("row", "event", "unlock", "batch")
    op.drop_table("user_attributes")
    op.drop_index("ix_rule_publications_digest", table_name="rule_publications")
    op.drop_table("rule_publications")
    op.drop_index("ix_evaluations_goal_id", table_name="evaluations")
    op.drop_table("evaluations")
    for column in ("revision", "active_from", "policy"):
        op.drop_column("rule_versions", column)
    for column in ("occurred_at", "source", "event_type"):
        op.drop_column("unlocks", column)
    for column in ("rules_revision", "attributes", "timezone"):
        op.drop_column("events", column)
    for column in ("is_part", "slots", "reached_at"):
        op.drop_column("user_goal_progress", column)
    _comment_on_period("2026-11-21 for a daily goal; empty without periods")


def _extend_events() -> None:
    op.add_column(
        "events",
        sa.Column(
            "timezone",
            sa.Text(),
            comment="the user's IANA time zone at the event, where a rule or the sender says so",
        ),
    )
    op.add_column(
        "events",
        sa.Column("attributes", _JSON, comment="the user's attributes that rules asked for when the event was applied"),
    )
    op.add_column(
        "events",
        sa.Column(
            "rules_revision",
            sa.Integer(),
            comment="the newest publication that the worker knew when it applied the event",
        ),
    )


def _extend_unlocks() -> None:
    op.add_column(
        "unlocks",
        sa.Column("event_type", sa.Text(), comment="of the completing event, as are source and occurred_at"),
    )
    op.add_column("unlocks", sa.Column("source", sa.Text()))
    op.add_column("unlocks", sa.Column("occurred_at", _TIME))


def _create_attributes() -> None:
    op.create_table(
        "user_attributes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("attributes", _JSON, nullable=False),
        sa.Column("updated_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_user_attributes")),
        comment="what segments and the time zone 'user' look at",
    )


def _extend_progress() -> None:
    _comment_on_period("2026-11-21, 2026-W47 or 2026-11; empty without periods")
    op.add_column(
        "user_goal_progress",
        sa.Column("reached_at", _TIME, comment="event time at which the rule itself was met, locked or not"),
    )
    op.execute("UPDATE user_goal_progress SET reached_at = completed_at WHERE completed_at IS NOT NULL")
    op.add_column(
        "user_goal_progress",
        sa.Column(
            "slots",
            _JSON,
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
            comment="states under other versions, while late events may move them",
        ),
    )
    op.add_column(
        "user_goal_progress",
        sa.Column(
            "is_part",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="the row of a part of a goal or of its prerequisites, not of a goal",
        ),
    )


def _extend_versions() -> None:
    op.add_column(
        "rule_versions",
        sa.Column("policy", sa.Text(), comment="what becomes of progress under the version before; null for the first"),
    )
    op.add_column("rule_versions", sa.Column("active_from", _TIME, comment="event time from which on it holds"))
    op.add_column("rule_versions", sa.Column("revision", sa.Integer(), comment="the publication that brought it"))


def _create_evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False, comment="the event's id, by which it is deduplicated"),
        sa.Column("goal_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("evaluated_at", _TIME, nullable=False, comment="processing time"),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("occurred_at", _TIME, nullable=False, comment="event time"),
        sa.Column("challenge_id", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.Integer(), nullable=False),
        sa.Column("progress_before", sa.Numeric(), nullable=True),
        sa.Column("progress_after", sa.Numeric(), nullable=True),
        sa.Column("status_before", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="after the event"),
        sa.Column("decision", sa.Text(), nullable=False, comment="started, advanced, completed, reached or unchanged"),
        sa.PrimaryKeyConstraint(
            *("tenant_id", "user_id", "event_id", "goal_id", "period", "evaluated_at"), name=op.f("pk_evaluations")
        ),
        comment="what events did to goals; which of them EVALUATION_LOG says; one partition a day of evaluated_at",
        postgresql_partition_by="RANGE (evaluated_at)",
    )
    op.create_index("ix_evaluations_goal_id", "evaluations", ["goal_id", "evaluated_at"], unique=False)


def _create_publications() -> None:
    op.create_table(
        "rule_publications",
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False, comment="counts up by one"),
        sa.Column("active_from", _TIME, nullable=False, comment="event time; 1970 for the first"),
        sa.Column("published_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the document's bytes"),
        sa.Column("source", sa.Text(), nullable=False, comment="the file it was read from"),
        sa.Column("document", sa.Text(), nullable=False, comment="the whole challenges file"),
        sa.Column("versions", _JSON, nullable=False, comment="goal id to version"),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_rule_publications")),
        comment="challenges files as they were published: the newest one active at an event's time holds for it",
    )
    op.create_index("ix_rule_publications_digest", "rule_publications", ["digest"], unique=False)


def _comment_on_period(comment: str) -> None:
    op.alter_column("user_goal_progress", "period", existing_type=sa.Text(), existing_nullable=False, comment=comment)


def _kinds_of_dead_letters(*kinds: str) -> None:
    op.drop_constraint(op.f("ck_dead_letters_kind"), "dead_letters", type_="check")
    op.create_check_constraint(op.f("ck_dead_letters_kind"), "dead_letters", sa.column("kind").in_(kinds))
    op.alter_column(
        "dead_letters",
        "kind",
        existing_type=sa.Text(),
        existing_nullable=False,
        comment=f"{', '.join(kinds[:-1])} or {kinds[-1]}",
    )
