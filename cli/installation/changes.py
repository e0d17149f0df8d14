"""Servers and progress of commands that change shared settings."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from rich.progress import Progress
from sqlalchemy import Engine

from cli.client.running import require_servers
from cli.database import open_database
from cli.output import progress_bars
from config.settings import Settings
from models.database.fleet.installation import InstallationTable
from models.database.fleet.installation_lock import change_lock
from models.installation.change import Changer
from models.installation.joining import bring_up, shared
from models.state.connection import connect_state
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.layout import Layouts
from models.state.fleet.presence import Presence
from tasks.flush.flusher import Flusher, FlushReport
from worker.parts import WorkerParts


class Bars:
    """How far a change is, on stderr: a bar for each part of it that has begun."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._draining = bars.add_task("to PostgreSQL", total=0, visible=False)
        self._forgetting = bars.add_task("keys dropped", total=None, visible=False)
        self._waiting = bars.add_task("processes", total=0, visible=False)
        self._most_left = self._most_behind = 0

    def draining(self, left: int) -> None:
        """So many things wait for PostgreSQL."""
        self._most_left = max(self._most_left, left)
        done = self._most_left - left
        self._bars.update(self._draining, total=self._most_left, completed=done, visible=True)

    def forgetting(self, keys: int) -> None:
        """So many keys of users were dropped from Redis."""
        self._bars.update(self._forgetting, advance=keys, visible=True)

    def waiting(self, processes: int) -> None:
        """So many processes go by the old values."""
        self._most_behind = max(self._most_behind, processes)
        done = self._most_behind - processes
        self._bars.update(self._waiting, total=self._most_behind, completed=done, visible=True)


@contextmanager
def changer(settings: Settings, *, patience_s: float = 30.0) -> Iterator[Changer]:
    """Changes the settings of an installation, under the lock of such changes.

    Raises:
        PermanentError: the settings name no servers, or another command holds the lock.
    """
    require_servers(settings)
    bring_up(settings)
    settings = shared(settings)
    with (
        open_database(settings, "questline-settings") as engine,
        closing(connect_state(settings.state)) as redis,
        change_lock(engine) as lock,
        progress_bars() as bars,
    ):
        yield Changer(
            table=InstallationTable(engine),
            copy=InstallationCopy(redis),
            layouts=Layouts(redis),
            presence=Presence(redis),
            drain=_drain(settings, engine),
            lock=lock,
            progress=Bars(bars),
            patience_s=patience_s,
        )


class FlushDrain:
    """What waits for PostgreSQL in an installation, and the flush that brings it there."""

    def __init__(self, parts: WorkerParts, flusher: Flusher) -> None:
        self._parts, self._flusher = parts, flusher

    def left(self, shards: int) -> int:
        """See ``models.installation.change.Drain``, as for the others."""
        parts = self._parts
        batches = sum(state.batches for state in parts.journal.states(shards))
        return batches + sum(parts.records.dirty_counts(shards)) + sum(parts.shard_log.lengths(shards))

    def flush(self) -> FlushReport:
        """Flush until drained."""
        return self._flusher.flush()

    def mark(self, shards: int) -> None:
        """Flush each shard once."""
        self._flusher.mark(shards)


def _drain(settings: Settings, engine: Engine) -> FlushDrain:
    parts = WorkerParts(settings, connect_state(settings.state), engine)
    return FlushDrain(parts, parts.make_flusher(parts.make_history_watch()))
