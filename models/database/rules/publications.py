"""Publications in PostgreSQL, as the engine reads them (promise P9)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import Any, NamedTuple

import structlog
from sqlalchemy import ARRAY, ColumnElement, Connection, Engine, Integer, Row, Text, cast, func, select, tuple_

from models.database.connection import database_errors
from models.database.rules.definitions import compiled_goal, rule_of, with_shown
from models.database.tables import rule_publications, rule_versions
from models.errors import ConfigurationError, InvalidChallengesError
from models.rules.calendar import microseconds, to_datetime
from models.rules.goals import Goal, Policy, Publication, Publications, Rulebook, Unreadable
from models.rules.graph import NEVER

log = structlog.get_logger()


CompiledGoals = dict[tuple[str, int, str], Goal | None]
"""Goals by id, version and fingerprint; None where the stored definition does not tell their meaning."""


def load(
    engine: Engine, parse: Callable[[bytes], Rulebook], *, since_us: int, compiled: CompiledGoals | None = None
) -> Publications:
    """The publications that events since a time (µs) may fall under, their goals under their versions.

    With them come those of the versions before, which decide what a new version does with progress made under them,
    however long ago that was. ``on_change`` of a goal is what it came to when its version was published, whatever
    later files say of it; and its rule means what it meant then, whatever this release reads in the same file. What
    was compiled by a release that wrote no definitions, or writes others, is parsed again by ``parse``. A publication
    that cannot be read, because a newer release wrote it, is logged and named as such. ``compiled`` are goals of an
    earlier call, and afterwards of this one: then only what is new is read.

    Raises:
        ConfigurationError: there is none that can be read.
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    table = rule_publications.c
    first = select(func.max(table.revision)).where(table.active_from <= to_datetime(since_us)).scalar_subquery()
    with database_errors(), engine.connect() as connection:
        versions = _versions(connection)
        found = _read(connection, table.revision >= func.coalesce(first, 0))
        needed = _revisions_before(found, versions) - {row.revision for row in found}
        found = sorted([*found, *_read(connection, table.revision.in_(needed))], key=lambda row: int(row.revision))
        goals = _compiled_goals(connection, found, versions, compiled or {})
        by_version = {(goal_id, version): goal for (goal_id, version, _), goal in goals.items()}
        rulebooks = {row.revision: _compiled(row, by_version) for row in found}
        documents = _documents(connection, [revision for revision, rulebook in rulebooks.items() if rulebook is None])
    if compiled is not None:
        compiled.clear()
        compiled.update(goals)
    items, unreadable = [], []
    for row, following in zip_longest(found, found[1:]):
        try:
            rulebook = rulebooks[row.revision]
            if rulebook is None:
                rulebook = _parsed(engine, parse(documents[row.revision]).with_versions(row.versions), versions)
        except (InvalidChallengesError, KeyError) as error:
            log.error("rules_unreadable", revision=row.revision, error=str(error))  # noqa: TRY400 - its text says it all
            until = microseconds(following.active_from) if following else NEVER
            unreadable.append(Unreadable(row.revision, microseconds(row.active_from), until))
            continue
        items.append(Publication(row.revision, microseconds(row.active_from), _with_policies(rulebook, versions)))
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
    digest: str
    policy: Policy | None
    revision: int | None
    """The publication that brought it; None for the first release."""


_Versions = Mapping[tuple[str, int], _Version]


def _versions(connection: Connection) -> dict[tuple[str, int], _Version]:
    table = rule_versions.c
    found = connection.execute(select(table.goal_id, table.version, *(table[name] for name in _Version._fields)))
    return {(goal_id, version): _Version(*rest) for goal_id, version, *rest in found}


def _read(connection: Connection, which: ColumnElement[bool]) -> list[Row[Any]]:
    table = rule_publications.c
    wanted = select(table.revision, table.active_from, table.versions, table.goals).where(which)
    return list(connection.execute(wanted.order_by(table.revision)))


def _documents(connection: Connection, revisions: Collection[int]) -> dict[int, bytes]:
    table = rule_publications.c
    if not revisions:
        return {}
    found = connection.execute(select(table.revision, table.document).where(table.revision.in_(revisions)))
    return {revision: document.encode() for revision, document in found}


def _revisions_before(found: Sequence[Row[Any]], versions: _Versions) -> set[int]:
    """Where the versions of these publications began, and those before them ended."""
    revisions: set[int] = set()
    for goal_id, number in {pair for row in found for pair in row.versions.items()}:
        while number > 1 and (version := versions.get((goal_id, number))) and version.revision is not None:
            if version.policy in (None, "restart"):
                break
            revisions |= {version.revision, version.revision - 1}
            number -= 1  # noqa: PLW2901 - back to the version that progress may come from, or users have stayed on
    return revisions


def _compiled_goals(
    connection: Connection, found: Sequence[Row[Any]], versions: _Versions, known: CompiledGoals
) -> CompiledGoals:
    """The goals of all versions that these publications name, from their stored definitions."""
    named = {pair for row in found if row.goals is not None for pair in row.versions.items() if pair in versions}
    wanted = {(*pair, versions[pair].digest) for pair in named}
    return {key: known[key] for key in wanted & known.keys()} | {
        (goal_id, version, digest): compiled_goal(definition, goal_id, digest)
        for (goal_id, version, digest), definition in _definitions(connection, wanted - known.keys()).items()
    }


def _definitions(connection: Connection, wanted: Collection[tuple[str, int, str]]) -> dict[tuple[str, int, str], Any]:
    table = rule_versions.c
    if not wanted:
        return {}
    goal_ids, numbers, _ = zip(*wanted, strict=True)
    arrays = func.unnest(cast(goal_ids, ARRAY(Text)), cast(numbers, ARRAY(Integer)))
    pairs = arrays.table_valued("goal_id", "version").render_derived()
    is_wanted = (table.goal_id == pairs.c.goal_id) & (table.version == pairs.c.version)
    found = connection.execute(select(table.goal_id, table.version, table.digest, table.definition).where(is_wanted))
    return {(goal_id, version, digest): definition for goal_id, version, digest, definition in found}


def _compiled(row: Row[Any], goals: Mapping[tuple[str, int], Goal | None]) -> Rulebook | None:
    """The rulebook of a publication, put together from what is stored; None where its text must be parsed."""
    made = []
    try:
        for shown in row.goals or ():
            version = row.versions[shown["id"]]
            goal = goals.get((shown["id"], version))
            if goal is None:
                return None
            made.append(replace(with_shown(goal, shown), version=version))
    except (KeyError, TypeError, ValueError):  # another release wrote it, in words of its own
        return None
    return Rulebook(tuple(made)) if made else None


def _parsed(engine: Engine, rulebook: Rulebook, versions: _Versions) -> Rulebook:
    """The same goals by the rules that were stored with their versions, where a file is read otherwise than it was."""
    others = {
        goal.goal_id: goal.version
        for goal in rulebook.goals
        if (known := versions.get((goal.goal_id, goal.version))) and known.digest != goal.digest
    }
    if not others:
        return rulebook
    table = rule_versions.c
    wanted = select(table.goal_id, table.definition).where(tuple_(table.goal_id, table.version).in_(others.items()))
    with database_errors(), engine.connect() as connection:
        rules = {goal_id: rule_of(definition) for goal_id, definition in connection.execute(wanted)}
    return Rulebook(tuple(replace(goal, rule=rules.get(goal.goal_id, goal.rule)) for goal in rulebook.goals))


def _with_policies(rulebook: Rulebook, versions: _Versions) -> Rulebook:
    """The same goals, each with the policy of its version."""
    known = ((goal, versions.get((goal.goal_id, goal.version))) for goal in rulebook.goals)
    return Rulebook(tuple(replace(goal, on_change=at.policy) if at and at.policy else goal for goal, at in known))
