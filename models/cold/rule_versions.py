"""The published versions of goals (promise P9)."""

import orjson
from sqlalchemy import Engine

from models.cold.connection import database_errors, statement
from models.rules.goals import Goal, Rulebook

_LOCK = 7_305_116_274_002  # any number, the same for all who publish


def publish(engine: Engine, rulebook: Rulebook) -> Rulebook:
    """Publish the goals whose meaning is new, and return all goals under their current versions.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        for goal in rulebook.goals:
            connection.exec_driver_sql(
                statement("publish_rule"),
                {"goal_id": goal.goal_id, "digest": goal.digest, "definition": _definition(goal)},
            )
        rows = connection.exec_driver_sql(
            statement("current_versions"), {"goal_id": [goal.goal_id for goal in rulebook.goals]}
        )
        return rulebook.with_versions({row.goal_id: row.version for row in rows})


def _definition(goal: Goal) -> str:
    return orjson.dumps(
        {
            "challenge": goal.challenge_id,
            "name": goal.name,
            "operator": goal.operator,
            "event": goal.event_source,
            "target": goal.target,
            "per": goal.per,
            "stops_at_target": goal.stops_at_target,
        }
    ).decode()
