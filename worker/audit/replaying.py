"""From logged events to what they mean: each user's rows and completions, by the reference engine."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from models.cold.event_log import Logged, User
from models.rules.matching import Matcher
from models.rules.reference import Completion, Rows, UserEngine


class Replayed(NamedTuple):
    """What a user must have."""

    user: User
    events: int
    rows: Rows
    completions: list[Completion]


def replay(matcher: Matcher, log: Iterable[Logged]) -> Iterator[Replayed]:
    """Each user's outcome; the log must have each user's events together, in the order of applying."""
    for user, logged in groupby(log, key=_user_of):
        engine, events = UserEngine(matcher), 0
        for event, revision in logged:
            engine.apply(event, revision=revision)
            events += 1
        yield Replayed(user, events, engine.rows, engine.completions)


def nothing(user: User) -> Replayed:
    """What a user without events must have."""
    return Replayed(user, 0, {}, [])


def _user_of(logged: Logged) -> User:
    return logged.event.tenant_id, logged.event.user_id
