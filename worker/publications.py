"""The watcher: keeps the publications of rules that a process works by up to date, without a restart."""

from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from threading import Event, Lock
from time import monotonic

import structlog
from sqlalchemy import Engine

from config.settings import Settings
from models.cold.publications import load, newest_revision
from models.cold.publishing import Document, publish
from models.errors import ConfigurationError, DatabaseUnavailableError, RulesUnreadableError
from models.rules.calendar import PERIOD_MARGIN_US, microseconds_of
from models.rules.challenges import parse_challenges
from models.rules.goals import Publications, Rulebook
from models.rules.matching import Matcher
from worker.lookout import Lookout

log = structlog.get_logger()


class PublicationsWatcher:
    """Asks PostgreSQL for new publications from a thread of its own. Safe to use from several threads."""

    def __init__(
        self, load: Callable[[], Publications], newest_revision: Callable[[], int], interval: float = 1.0
    ) -> None:
        """``load`` reads the publications, ``newest_revision`` tells cheaply whether to; every ``interval`` seconds."""
        self._load = load
        self._newest_revision = newest_revision
        self._known: Publications | None = None
        self._seen = 0
        self._asked_in_vain = float("-inf")
        self._lock = Lock()
        self._lookout = Lookout(
            "publications",
            self.refresh,
            interval,
            failed=lambda error: log.debug("rules_not_read", error=str(error)),
            broke=lambda error: log.error("rules_watch_broke", exc_info=error),
        )

    def current(self) -> Publications:
        """The publications as far as they are known; only the first call asks PostgreSQL.

        Raises:
            DatabaseUnavailableError: PostgreSQL has not answered yet.
            ConfigurationError: it holds none that can be read.
        """
        return self._known or self._first()

    def start(self) -> None:
        """Look for new ones every ``interval`` seconds, until ``stop``; PostgreSQL may be away."""
        self._lookout.start()

    def stop(self) -> None:
        """End the thread."""
        self._lookout.stop()

    def refresh(self) -> None:
        """Take up what was published since the last look.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
            ConfigurationError: it holds no publication that can be read.
        """
        if self._known is None:
            self._first()
            return
        newest = self._newest_revision()
        if newest != self._seen:
            self._take(newest)

    def _first(self) -> Publications:
        """One thread asks while others wait; a failure counts for them too, since asking may take seconds."""
        asked = monotonic()
        with self._lock:
            if self._known is not None:
                return self._known
            if self._asked_in_vain >= asked:
                raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago")
            try:
                return self._take(None)
            except DatabaseUnavailableError:
                self._asked_in_vain = monotonic()
                raise

    def _take(self, newest: int | None) -> Publications:
        known = self._load()
        self._known, self._seen = known, known.newest.revision if newest is None else newest
        log.info("rules_picked_up", revision=known.newest.revision, active_from=known.newest.active_from)
        return known


def reach_us(settings: Settings) -> int:
    """How long ago (µs) an event may have happened that is applied now: it may have waited in the journal."""
    return microseconds_of(settings.max_lateness) + PERIOD_MARGIN_US


def watch_publications(
    engine: Engine, settings: Settings, document: Document, now_us: Callable[[], int]
) -> PublicationsWatcher:
    """The watcher of a process, not started yet; contacts no server.

    Its first look publishes the process' own challenges file, ``document``, if that was never published.
    """
    read = lru_cache(maxsize=256)(parse_stored)
    published = Event()

    def find() -> Publications:
        if not published.is_set():
            try:
                publish_unseen(engine, document, now_us())
            except ConfigurationError as error:  # what was published before holds on
                log.error("rules_not_published", source=document.source, error=str(error))  # noqa: TRY400
            published.set()
        return load(engine, read, since_us=now_us() - reach_us(settings))

    return PublicationsWatcher(find, lambda: newest_revision(engine))


def matchers(watcher: PublicationsWatcher, settings: Settings) -> Callable[[], Matcher]:
    """Gives what matches events to the rules as published by now; made anew when there is something new.

    What it gives raises DatabaseUnavailableError and RulesUnreadableError while the rules are not known.
    """
    made: list[Matcher] = []

    def current() -> Matcher:
        try:
            publications = watcher.current()
        except ConfigurationError as error:  # permanent for this release, and no fault of the events in hand
            raise RulesUnreadableError(str(error)) from error
        if not made or made[0].publications is not publications:
            made[:] = [Matcher(publications, lateness_us=reach_us(settings))]
        return made[0]

    return current


def publish_unseen(engine: Engine, document: Document, now_us: int) -> None:
    """Publish a challenges file unless it was published at any time before.

    Raises:
        DatabaseUnavailableError: PostgreSQL did not answer.
    """
    done = publish(engine, document, now_us=now_us, only_if_unseen=True)
    if done is not None:
        new = sum(goal.is_new for goal in done.goals)
        log.info("rules_published", revision=done.revision, active_from=done.active_from, new_versions=new)


def read_file(path: Path, lateness: timedelta, *, setting: str = "") -> Document:
    """Read a challenges file, with the bounds that ``lateness`` sets; ``setting`` is what names it, if one does.

    Raises:
        ConfigurationError: it cannot be read.
        InvalidChallengesError: it has faults, one line each.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        named = f"{setting} {path}" if setting else str(path)
        raise ConfigurationError(f"{named}: cannot be read: {error.strerror or error}") from error
    return Document(content, parse_challenges(content, str(path), lateness=lateness), str(path))


def parse_stored(document: bytes) -> Rulebook:
    """Read a published challenges file. Bounds that hang on ``MAX_LATENESS`` were checked when it was published.

    Raises:
        InvalidChallengesError: another release wrote it, and this one cannot read it.
    """
    return parse_challenges(document, "published challenges", lateness=timedelta())
