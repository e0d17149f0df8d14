"""The publications that PostgreSQL holds, as the engine works with them (promise P9)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import Any, NamedTuple

import structlog
from sqlalchemy import ColumnElement, Connection, Engine, Row, func, select, tuple_

from models.cold.connection import database_errors
from models.cold.definitions import rule_of
from models.cold.tables import rule_publications, rule_versions
from models.errors import ConfigurationError, InvalidChallengesError
from models.rules.calendar import microseconds, moment
from models.rules.goals import Policy, Publication, Publications, Rulebook, Unreadable
from models.rules.nodes import NEVER

log = structlog.get_logger()


def load(engine: Engine, parse: Callable[[bytes], Rulebook], *, since_us: int) -> Publications:
    """The publications that events since a moment (µs) may fall under, their goals under their versions.

    With them come those of the versions before, which decide what a new version does with progress made under them,
    however long ago that was. ``on_change`` of a goal is what it came to when its version was published, whatever
    later files say of it; and its rule means what it meant then, whatever this release reads in the same file. A
    publication that cannot be read, because a newer release wrote it, is logged and named as such.

    Raises:
        ConfigurationError: there is none that can be read.
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    table = rule_publications.c
    first = select(func.max(table.revision)).where(table.active_from <= moment(since_us)).scalar_subquery()
    with database_errors(), engine.connect() as connection:
        versions = _versions(connection)
        found = _read(connection, table.revision >= func.coalesce(first, 0))
        needed = _revisions_before(found, versions) - {row.revision for row in found}
        found = sorted([*found, *_read(connection, table.revision.in_(needed))], key=lambda row: int(row.revision))
        digests = _digests(connection)
    policies = {key: version.policy for key, version in versions.items()}
    items, unreadable = [], []
    for row, following in zip_longest(found, found[1:]):
        try:
            published = parse(row.document.encode()).with_versions(row.versions)
            rulebook = _settled(_as_published(engine, published, digests), policies)
        except (InvalidChallengesError, KeyError) as error:
            log.error("rules_unreadable", revision=row.revision, error=str(error))  # noqa: TRY400 - its text says it all
            until = microseconds(following.active_from) if following else NEVER
            unreadable.append(Unreadable(row.revision, microseconds(row.active_from), until))
            continue
        items.append(Publication(row.revision, microseconds(row.active_from), rulebook))
    if not items:
        raise ConfigurationError("PostgreSQL holds no publication of rules that can be read")
    return Publications(tuple(items), tuple(unreadable))


class Newest(NamedTuple):
    """Which publication is the newest: two of one number differ in time, where PostgreSQL was restored between them."""

    revision: int
    published_at: datetime


def newest_publication(engine: Engine) -> Newest | None:
    """The newest publication; None where there is none.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    table = rule_publications.c
    wanted = select(table.revision, table.published_at).order_by(table.revision.desc()).limit(1)
    with database_errors(), engine.connect() as connection:
        found = connection.execute(wanted).one_or_none()
    return Newest(*found) if found else None


class _Version(NamedTuple):
    policy: Policy
    revision: int
    """The publication that brought it."""


_Versions = Mapping[tuple[str, int], _Version]


def _versions(connection: Connection) -> dict[tuple[str, int], _Version]:
    table = rule_versions.c
    wanted = select(table.goal_id, table.version, table.policy, table.revision)
    found = connection.execute(wanted.where(table.policy.is_not(None), table.revision.is_not(None)))
    return {(goal_id, version): _Version(policy, revision) for goal_id, version, policy, revision in found}


def _read(connection: Connection, which: ColumnElement[bool]) -> list[Row[Any]]:
    table = rule_publications.c
    wanted = select(table.revision, table.active_from, table.document, table.versions).where(which)
    return list(connection.execute(wanted.order_by(table.revision)))


def _revisions_before(found: Sequence[Row[Any]], versions: _Versions) -> set[int]:
    """Where the versions of these publications began, and those before them ended."""
    revisions: set[int] = set()
    for goal_id, number in {pair for row in found for pair in row.versions.items()}:
        while number > 1 and (version := versions.get((goal_id, number))) and version.policy != "restart":
            revisions |= {version.revision, version.revision - 1}
            number -= 1  # noqa: PLW2901 - back to the version that progress may come from, or users have stayed on
    return revisions


def _digests(connection: Connection) -> dict[tuple[str, int], str]:
    table = rule_versions.c
    found = connection.execute(select(table.goal_id, table.version, table.digest))
    return {(goal_id, version): digest for goal_id, version, digest in found}


def _as_published(engine: Engine, rulebook: Rulebook, digests: Mapping[tuple[str, int], str]) -> Rulebook:
    """The same goals by the rules that were stored with their versions, where a file is read otherwise than it was."""
    others = [
        (goal.goal_id, goal.version)
        for goal in rulebook.goals
        if digests.get((goal.goal_id, goal.version), goal.digest) != goal.digest
    ]
    if not others:
        return rulebook
    table = rule_versions.c
    wanted = select(table.goal_id, table.definition).where(tuple_(table.goal_id, table.version).in_(others))
    with database_errors(), engine.connect() as connection:
        rules = {goal_id: rule_of(definition) for goal_id, definition in connection.execute(wanted)}
    return Rulebook(tuple(replace(goal, rule=rules.get(goal.goal_id, goal.rule)) for goal in rulebook.goals))


def _settled(rulebook: Rulebook, policies: Mapping[tuple[str, int], Policy]) -> Rulebook:
    found = ((goal, policies.get((goal.goal_id, goal.version), goal.on_change)) for goal in rulebook.goals)
    return Rulebook(tuple(replace(goal, on_change=policy) for goal, policy in found))
