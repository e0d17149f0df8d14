"""Progress computed anew from a stretch of the event log, into a sandbox."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from models.database.event_log import open_log
from models.progress_listener import SILENT, ProgressListener
from models.rules.matcher import Matcher
from tasks.audit.replay import Replayed, replay
from tools.audit.sandbox import Sandbox


@dataclass(slots=True)
class Recomputed:
    """What came out."""

    users: int = 0
    events: int = 0
    rows: int = 0
    unlocks: int = 0
    digest: str = ""
    """Of all rows and unlocks: the same for the same events and rules."""


@dataclass(frozen=True, slots=True)
class Recomputer:
    """Replays the log of one PostgreSQL."""

    engine: Engine
    matcher: Callable[[], Matcher]
    """The rules to go by; asked once, after the snapshot of the log was taken."""
    listener: ProgressListener = SILENT
    """Told of events."""

    def run(self, sandbox: Sandbox, *, since: datetime | None = None, until: datetime | None = None) -> Recomputed:
        """Fill a sandbox from the events that happened from ``since`` on and before ``until``.

        Raises:
            ConfigurationError: PostgreSQL holds no rules.
            DatabaseUnavailableError: PostgreSQL did not answer.
        """
        result = Recomputed()
        with open_log(self.engine) as log:
            self.listener.start(log.count(since=since, until=until))
            users = replay(self.matcher(), log.events(since=since, until=until))
            result.rows, result.unlocks = sandbox.write(self._counting(users, result))
        result.digest = sandbox.digest()
        return result

    def _counting(self, users: Iterable[Replayed], result: Recomputed) -> Iterator[Replayed]:
        for replayed in users:
            result.users += 1
            result.events += replayed.events
            self.listener.advance(replayed.events)
            yield replayed
