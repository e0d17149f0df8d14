"""Publishing a challenges file: goals' versions and their start (promise P9).

Nothing updates a publication or a version. A goal whose meaning changed gets the next version; a publication holds
for events from its ``active_from`` on. Before it is committed the fence of every shard is raised to it, and only then
its ``active_from`` is chosen: so no worker that does not know it evaluates an event of its time (promise P14).
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from models.database.connection import database_errors
from models.database.rules.definitions import definition_of, goal_of, same_meaning, shown_of
from models.database.rules.publication_lock import publishing
from models.database.tables import rule_publications, rule_versions
from models.errors import ConfigurationError
from models.rules.calendar import microseconds, to_datetime
from models.rules.goals import Goal, Policy, Rulebook
from models.rules.succession import changes_of_kind, policy_in_effect

PICK_UP_US = 3_000_000
"""How far ahead (µs) of the raised fences a publication becomes active: so far ahead may a sender's clock be, and its
events are judged by all that was published before they came."""


class RulesFence(Protocol):
    """What keeps workers from applying events by older rules."""

    def raise_to(self, revision: int) -> int:
        """Stop every worker from applying by older rules; returns the time (µs) when that was so."""
        ...


class Document:
    """A challenges file. Its text is parsed when its rulebook is asked for, and then once."""

    def __init__(self, content: bytes, rulebook: Rulebook | Callable[[], Rulebook], source: str) -> None:
        """``rulebook``: what the content was parsed to, or what parses it. ``source`` is the file's name."""
        self.content, self.source = content, source
        self._rulebook = rulebook

    @property
    def rulebook(self) -> Rulebook:
        """The goals of the file.

        Raises:
            InvalidChallengesError: it has faults, and was not parsed before.
        """
        if not isinstance(self._rulebook, Rulebook):
            self._rulebook = self._rulebook()
        return self._rulebook

    @property
    def digest(self) -> str:
        """The fingerprint that tells whether it was published before."""
        return sha256(self.content).hexdigest()


class PublishedGoal(NamedTuple):
    """A goal of a publication."""

    goal_id: str
    version: int
    policy: Policy | None
    """What becomes of progress under the version before; None where there is no change."""
    is_new: bool
    """Whether the publication brought this version."""


class Published(NamedTuple):
    """What was published."""

    revision: int
    active_from: int
    """Microseconds; 0 for the first."""
    goals: list[PublishedGoal]
    removed: list[str]
    """Goals of the publication before that are no longer there."""


class _Known(NamedTuple):
    version: int
    digest: str
    definition: dict[str, Any]


class _Newest(NamedTuple):
    revision: int
    active_from: int
    digest: str
    goals: frozenset[str]


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes challenges files of one installation."""

    engine: Engine
    fence: RulesFence

    def publish(
        self, document: Document, *, now_us: int, active_from: int | None = None, only_if_unseen: bool = False
    ) -> Published | None:
        """Publish a challenges file; None if there is nothing to publish.

        That is where the newest publication is this document, or, with ``only_if_unseen``, any publication is. The
        first one holds for all time, a later one from ``active_from`` (µs) on, which is ``PICK_UP_US`` ahead unless
        given. Where this ends between the fence and the commit, workers find a fence with no publication behind it, and
        put it back (``stable_revision``).

        Raises:
            ConfigurationError: ``active_from`` is too early, or a rule changed in a way that needs a new id.
            DatabaseUnavailableError: PostgreSQL did not answer.
            StateUnavailableError: the fence could not be raised; nothing was published.
        """
        with publishing(self.engine) as connection:
            if only_if_unseen and _is_seen(connection, document.digest):
                return None
            known = _known_versions(connection, document.rulebook)
            result = _compared(connection, document, known, now_us, active_from)
            if result is None:
                return None
            raised_at = self.fence.raise_to(result.revision)
            # Once more: events that were applied until the fence stood must not fall under it.
            soonest = max(now_us, raised_at) + PICK_UP_US
            result = result._replace(active_from=_active_from(_newest(connection), soonest, active_from))
            _write_versions(connection, document.rulebook, result, known)
            _write_publication(connection, document, result)
            return result


def preview(
    engine: Engine, document: Document, *, now_us: int, active_from: int | None = None, only_if_unseen: bool = False
) -> Published | None:
    """What publishing would do now; nothing is written."""
    with database_errors(), engine.connect() as connection:
        if only_if_unseen and _is_seen(connection, document.digest):
            return None
        known = _known_versions(connection, document.rulebook)
        return _compared(connection, document, known, now_us, active_from)


def _newest(connection: Connection) -> _Newest | None:
    table = rule_publications.c
    wanted = select(table.revision, table.active_from, table.digest, table.versions).order_by(table.revision.desc())
    found = connection.execute(wanted.limit(1)).one_or_none()
    return _Newest(found[0], microseconds(found[1]), found[2], frozenset(found[3])) if found else None


def is_published(engine: Engine, document: Document) -> bool:
    """Whether this very file was published at any time.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    with database_errors(), engine.connect() as connection:
        return _is_seen(connection, document.digest)


def _is_seen(connection: Connection, digest: str) -> bool:
    seen = select(func.count()).where(rule_publications.c.digest == digest)
    return bool(connection.execute(seen).scalar_one())


def _known_versions(connection: Connection, rulebook: Rulebook) -> dict[str, _Known]:
    """The newest version of each goal."""
    table = rule_versions.c
    wanted = (
        select(table.goal_id, table.version, table.digest, table.definition)
        .ext(distinct_on(table.goal_id))
        .where(table.goal_id.in_(list(rulebook.by_id)))
        .order_by(table.goal_id, table.version.desc())
    )
    return {goal_id: _Known(*rest) for goal_id, *rest in connection.execute(wanted)}


def _compared(
    connection: Connection, document: Document, known: dict[str, _Known], now_us: int, active_from: int | None
) -> Published | None:
    """The publication that the document would be after the newest one; None if it is the newest one."""
    newest = _newest(connection)
    if newest is not None and newest.digest == document.digest:
        return None
    goals = document.rulebook
    return Published(
        revision=newest.revision + 1 if newest else 1,
        active_from=_active_from(newest, now_us + PICK_UP_US, active_from),
        goals=[_published(goal, known.get(goal.goal_id), newest) for goal in goals.goals],
        removed=sorted(newest.goals - set(goals.by_id)) if newest else [],
    )


def _active_from(newest: _Newest | None, soonest: int, wanted: int | None) -> int:
    if newest is None:
        return 0
    earliest = max(soonest, newest.active_from)
    if wanted is None:
        return earliest
    if wanted < earliest:
        raise ConfigurationError(
            f"active_from: {to_datetime(wanted).isoformat()} is too early, the earliest is "
            f"{to_datetime(earliest).isoformat()}: before that, revision {newest.revision} holds, and events may have "
            "been evaluated already"
        )
    return wanted


def _published(goal: Goal, known: _Known | None, newest: _Newest | None) -> PublishedGoal:
    if known is None:
        return PublishedGoal(goal.goal_id, 1, None, is_new=True)
    if known.digest == goal.digest or same_meaning(known.definition, goal):
        return PublishedGoal(goal.goal_id, known.version, None, is_new=False)
    before = goal_of(known.definition, goal.goal_id)
    for change in changes_of_kind(before.rule, goal.rule):
        raise ConfigurationError(
            f"goal {goal.goal_id!r}: {change}: a rule over others and one that looks at events cannot take each "
            f"other's place, since late events of version {known.version} may still come; give the goal a new id, or "
            "the part another place"
        )
    # Progress that was broken off while the goal was not in the file begins anew.
    followed = newest is None or goal.goal_id in newest.goals
    policy = policy_in_effect(before, goal) if followed else "restart"
    return PublishedGoal(goal.goal_id, known.version + 1, policy, is_new=True)


def _write_versions(connection: Connection, rulebook: Rulebook, result: Published, known: dict[str, _Known]) -> None:
    new = []
    for goal, published in zip(rulebook.goals, result.goals, strict=True):
        said = {
            "digest": goal.digest,
            "definition": definition_of(goal),
            "active_from": to_datetime(result.active_from),
            "revision": result.revision,
        }
        if published.is_new:
            row = {"goal_id": goal.goal_id, "version": published.version, "policy": published.policy}
            new.append(row | said)
        elif known[goal.goal_id].digest != goal.digest:  # a version of the first release, in this one's words
            table = rule_versions.c
            is_version = (table.goal_id == goal.goal_id) & (table.version == published.version)
            connection.execute(rule_versions.update().where(is_version).values(said))
    if new:
        connection.execute(rule_versions.insert(), new)


def _write_publication(connection: Connection, document: Document, result: Published) -> None:
    row = {
        "revision": result.revision,
        "active_from": to_datetime(result.active_from),
        "digest": document.digest,
        "source": document.source,
        "document": document.content.decode(),
        "versions": {goal.goal_id: goal.version for goal in result.goals},
        "goals": [shown_of(goal) for goal in document.rulebook.goals],
    }
    connection.execute(rule_publications.insert(), row)
