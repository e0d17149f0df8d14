"""Keeps a process's rules up to date, without a restart."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Protocol

import structlog

from config.settings import Settings
from models.database.rules.publications import Newest
from models.database.rules.publisher import Document
from models.errors import ConfigurationError, DatabaseUnavailableError, QuestlineError, RulesUnreadableError
from models.pollers import Poller
from models.rules.calendar import PERIOD_MARGIN_US, microseconds_of
from models.rules.challenge_file.parser import parse_challenges
from models.rules.goals import Publications, Rulebook
from models.rules.matcher import Matcher
from tasks.retries import Retries

log = structlog.get_logger()


class Source(Protocol):
    """Where publications come from, as ``RuleSource`` has them; each method raises DatabaseUnavailableError."""

    def newest(self) -> Newest:
        """Tells cheaply whether to load; raises ConfigurationError where there is none."""
        ...

    def load(self) -> Publications:
        """All that are needed; raises ConfigurationError where none can be read."""
        ...

    def align_fences(self) -> None:
        """Put every fence to the newest publication."""
        ...


class PublicationsWatcher:
    """Asks for new publications from a thread of its own. Safe to use from several threads."""

    def __init__(self, source: Source, interval: float = 1.0) -> None:
        """Asks ``source`` every ``interval`` seconds."""
        self._source = source
        self._known: Publications | None = None
        self._seen: Newest | None = None
        self._asked_in_vain = float("-inf")
        self._told = ""
        self._lock = Lock()
        self._poller = Poller(
            "publications",
            self.refresh,
            interval,
            failed=self._tell,
            broke=lambda error: log.error("rules_watch_broke", exc_info=error),
        )

    def current(self) -> Publications:
        """The publications as far as they are known; only the first call asks PostgreSQL.

        Raises:
            DatabaseUnavailableError: PostgreSQL has not answered yet.
            ConfigurationError: it holds none that can be read.
        """
        return self._known or self._ask()

    def known(self) -> Publications | None:
        """The same without asking a server; None while they are not known."""
        return self._known

    def start(self) -> None:
        """Look for new ones every ``interval`` seconds, until ``stop``; PostgreSQL may be away."""
        self._poller.start()

    def stop(self) -> None:
        """End the thread."""
        self._poller.stop()

    def refresh(self) -> None:
        """Take up what was published since the last look.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer.
            ConfigurationError: it holds no publication that can be read.
        """
        with self._lock:
            self._poll()
        self._told = ""

    def _tell(self, error: QuestlineError) -> None:
        """Say why there are no new rules: once, not at every look."""
        if str(error) != self._told:
            self._told = str(error)
            log.warning("rules_not_read", error=self._told)

    def knows(self, revision: int | None) -> bool:
        """Whether what is known reaches to the fence of a shard; None: there is no fence."""
        return self._known is not None and revision is not None and revision <= self._known.known_revision

    def catch_up(self, revision: int | None) -> None:
        """Read what the fence of a shard asks for, or put the fence right where that was never published.

        ``revision`` is that of the fence, None where there is none. What was asked in vain while this call waited for
        its turn counts for it, too.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
            ConfigurationError: PostgreSQL holds no publication that can be read.
        """
        if not self.knows(revision):
            self._ask(revision)

    def _ask(self, revision: int | None = 0) -> Publications:
        """One thread asks while others wait; a failure counts for them too, since asking may take seconds."""
        asked = monotonic()
        with self._lock:
            if self._known is not None and self.knows(revision):
                return self._known
            if self._asked_in_vain >= asked:
                raise DatabaseUnavailableError("PostgreSQL did not answer a moment ago")
            try:
                known = self._poll()
                if not self.knows(revision):
                    self._source.align_fences()
                    known = self._poll()
            except DatabaseUnavailableError:
                self._asked_in_vain = monotonic()
                raise
            return known

    def _poll(self) -> Publications:
        newest = self._source.newest()
        if self._known is None or newest != self._seen:
            self._known, self._seen = self._source.load(), newest
            found = self._known.newest
            log.info("rules_picked_up", revision=found.revision, active_from=found.active_from)
        return self._known


class CurrentRules:
    """What matches events to the rules as published by now, for the workers."""

    def __init__(self, watcher: PublicationsWatcher, retries: Retries, *, lateness_us: int) -> None:
        self._watcher, self._patient_watcher = watcher, retries.wrap(watcher)
        self._lateness_us = lateness_us
        self._matcher: Matcher | None = None

    def matcher(self) -> Matcher:
        """The matcher; made anew when there is something new.

        Raises:
            DatabaseUnavailableError: PostgreSQL has not answered yet.
            RulesUnreadableError: it holds no rules that this release can read.
        """
        try:
            publications = self._watcher.current()
        except ConfigurationError as error:  # permanent for this release, and no fault of the events in hand
            raise RulesUnreadableError(str(error)) from error
        if self._matcher is None or self._matcher.publications is not publications:
            self._matcher = Matcher(publications, lateness_us=self._lateness_us)
        return self._matcher

    def knows(self, revision: int | None) -> bool:
        """Whether a fence takes requests made by these rules; None: there is no fence."""
        return self._watcher.knows(revision)

    def catch_up(self, revision: int | None) -> None:
        """Read what a fence asks for.

        Raises:
            StateUnavailableError, DatabaseUnavailableError: a server did not answer.
            RulesUnreadableError: PostgreSQL holds no rules that this release can read.
        """
        try:
            self._patient_watcher.catch_up(revision)
        except ConfigurationError as error:
            raise RulesUnreadableError(str(error)) from error


def open_file(path: Path, lateness: timedelta, *, setting: str = "") -> Document:
    """A challenges file with the bounds that ``lateness`` sets; ``setting`` is what names it, if one does.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        named = f"{setting} {path}" if setting else str(path)
        raise ConfigurationError(f"{named}: cannot be read: {error.strerror or error}") from error
    return Document(content, partial(parse_challenges, content, str(path), lateness=lateness), str(path))


def read_file(path: Path, lateness: timedelta, *, setting: str = "") -> Document:
    """The same, parsed.

    Raises:
        ConfigurationError: it cannot be read.
        InvalidChallengesError: it has faults, one line each.
    """
    document = open_file(path, lateness, setting=setting)
    return Document(document.content, document.rulebook, document.source)


def reach_us(settings: Settings) -> int:
    """How long ago (µs) an event may have happened that is applied now: it may have waited in the journal."""
    return microseconds_of(settings.max_lateness) + PERIOD_MARGIN_US


def parse_stored(document: bytes) -> Rulebook:
    """Read a published challenges file. Bounds that hang on ``MAX_LATENESS`` were checked when it was published.

    Raises:
        InvalidChallengesError: another release wrote it, and this one cannot read it.
    """
    return parse_challenges(document, "published challenges", lateness=timedelta())
