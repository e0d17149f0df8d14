"""From logged events to rows and unlocks, by the reference engine."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

from models.database.event_log import Logged, User
from models.events import Event
from models.rules.engine import Rows, UserEngine
from models.rules.goals import Publications
from models.rules.matcher import Matcher
from models.rules.rows import Unlock
from models.rules.rule import Step

_REMEMBERED = 64
"""Revisions whose rules are kept compiled."""


class RecallingMatcher(Matcher):
    """Finds the steps of each event as its worker did, who knew of no later publication.

    That matters where users stay on a version: whether they do hangs on the versions after it that are known.
    """

    def __init__(self, publications: Publications, *, lateness_us: int) -> None:
        super().__init__(publications, lateness_us=lateness_us)

        @lru_cache(maxsize=_REMEMBERED)
        def known_at(revision: int) -> Matcher:
            known = tuple(item for item in publications.items if item.revision <= revision)
            return Matcher(Publications(known or publications.items[:1]), lateness_us=lateness_us)

        self._known_at = known_at

    def steps(self, event: Event, revision: int | None = None) -> list[Step]:
        """The steps of an event by what was known at a revision; None: all that is known now."""
        if revision is None or revision >= self.publications.newest.revision:
            return super().steps(event)
        return self._known_at(revision).steps(event)


class Replayed(NamedTuple):
    """What a user must have."""

    user: User
    events: int
    rows: Rows
    unlocks: list[Unlock]


def replay(matcher: Matcher, log: Iterable[Logged]) -> Iterator[Replayed]:
    """Each user's outcome; the log must have each user's events together, in the order of applying."""
    for user, logged in groupby(log, key=_user_of):
        engine, events = UserEngine(matcher), 0
        for event, revision, _ in logged:
            engine.apply(event, revision=revision)
            events += 1
        yield Replayed(user, events, engine.rows, engine.unlocks)


def nothing(user: User) -> Replayed:
    """What a user without events must have."""
    return Replayed(user, 0, {}, [])


def _user_of(logged: Logged) -> User:
    return logged.event.tenant_id, logged.event.user_id
