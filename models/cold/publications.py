"""The publications that PostgreSQL holds, as the engine works with them (promise P9)."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog
from sqlalchemy import Connection, Engine, ScalarSelect, func, select

from models.cold.connection import database_errors
from models.cold.tables import rule_publications, rule_versions
from models.errors import ConfigurationError, InvalidChallengesError
from models.rules.calendar import microseconds, moment
from models.rules.goals import Policy, Publication, Publications, Rulebook

log = structlog.get_logger()


def load(engine: Engine, parse: Callable[[bytes], Rulebook], *, since_us: int) -> Publications:
    """The publications that events since a moment (µs) may fall under, their goals under their versions.

    ``on_change`` of a goal is what it came to when its version was published, whatever later files say of it.
    One that cannot be read, because a newer release wrote it, is logged and left out.

    Raises:
        ConfigurationError: there is none that can be read.
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    table = rule_publications.c
    first = select(func.max(table.revision)).where(table.active_from <= moment(since_us)).scalar_subquery()
    wanted = (
        select(table.revision, table.active_from, table.document, table.versions)
        .where(table.revision >= func.least(func.coalesce(first, 0), _first_with_guests()))
        .order_by(table.revision)
    )
    with database_errors(), engine.connect() as connection:
        found = connection.execute(wanted).all()
        policies = _policies(connection)
    items = []
    for revision, active_from, document, versions in found:
        try:
            rulebook = _settled(parse(document.encode()).with_versions(versions), policies)
        except (InvalidChallengesError, KeyError) as error:
            log.error("rules_unreadable", revision=revision, error=str(error))  # noqa: TRY400 - its text says it all
            continue
        items.append(Publication(revision, microseconds(active_from), rulebook))
    if not items:
        raise ConfigurationError("PostgreSQL holds no publication of rules that can be read")
    return Publications(tuple(items))


def _first_with_guests() -> ScalarSelect[int]:
    """The oldest publication under whose versions users in progress were left; null where there is none."""
    left, later = rule_versions.alias().c, rule_versions.alias().c
    moved = (
        select(later.version)
        .where(later.goal_id == left.goal_id, later.version > left.version, later.policy != "grandfather")
        .exists()
    )
    before = select(func.min(left.revision) - 1).where(left.policy == "grandfather", ~moved)
    return before.scalar_subquery()


def newest_revision(engine: Engine) -> int:
    """The number of the newest publication; 0 where there is none.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.connect() as connection:
        return connection.execute(select(func.max(rule_publications.c.revision))).scalar_one() or 0


def _policies(connection: Connection) -> dict[tuple[str, int], Policy]:
    table = rule_versions.c
    wanted = select(table.goal_id, table.version, table.policy).where(table.policy.is_not(None))
    return {(goal_id, version): policy for goal_id, version, policy in connection.execute(wanted)}


def _settled(rulebook: Rulebook, policies: Mapping[tuple[str, int], Policy]) -> Rulebook:
    found = ((goal, policies.get((goal.goal_id, goal.version), goal.on_change)) for goal in rulebook.goals)
    return Rulebook(tuple(replace(goal, on_change=policy) for goal, policy in found))
