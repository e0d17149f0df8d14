"""Keeps a receiver's API keys up to date, from a thread of its own."""

from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

import structlog
from redis import Redis
from sqlalchemy import Engine

from models.access.api_keys import KeyStore
from models.database.api_keys import note_uses, read_key_store
from models.errors import DatabaseUnavailableError, QuestlineError, StateUnavailableError
from models.pollers import Poller
from models.state.api_keys import KeyStoreCopy

_REFRESH_S = 1.0
_COPY_S = 30.0
"""How often the copy in Redis is written anew although nothing changed: it lapses after an hour."""
_NOTE_USES_S = 60.0

log = structlog.get_logger()


class _Known(NamedTuple):
    """Keys, and until when they are believed on the watcher's clock; None for those PostgreSQL itself told."""

    key_store: KeyStore
    until: float | None = None


class KeysWatcher:
    """Reads the keys every second and writes down every minute which ones were used.

    What PostgreSQL told holds on while it is away. A process that starts then takes the copy in Redis, if another
    receiver left one, for as long as the copy may live; else it knows nothing, and ``key_store`` says so. Safe to use
    from several threads.
    """

    def __init__(self, engine: Engine, redis: Redis, *, clock: Callable[[], float] = monotonic) -> None:
        """Contacts no server. ``clock`` gives seconds."""
        self._engine = engine
        self._copy = KeyStoreCopy(redis)
        self._clock = clock
        self._known: _Known | None = None  # replaced as a whole, since requests read it from other threads
        self._copy_due = self._uses_due = clock()
        self._uses: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._poller = Poller(
            "keys",
            self._poll,
            _REFRESH_S,
            failed=lambda error: log.debug("keys_not_read", error=str(error)),
            broke=lambda error: log.error("keys_watch_broke", exc_info=error),
        )

    def key_store(self) -> KeyStore:
        """The keys as far as they are known; contacts no server.

        Raises:
            DatabaseUnavailableError: nothing is known yet, or only what a copy told too long ago.
        """
        known = self._known
        if known is None or (known.until is not None and self._clock() >= known.until):
            raise DatabaseUnavailableError("whether API keys are asked for is not known yet: PostgreSQL did not answer")
        return known.key_store

    def check(self) -> None:
        """Raise ``DatabaseUnavailableError`` while nothing is known: every request is answered 503 then."""
        self.key_store()

    def used(self, key_id: str, now_us: int) -> None:
        """Remember that a valid key was used; as many as there are keys."""
        self._uses[key_id] = now_us

    def refresh(self) -> None:
        """Read the keys, from the copy where PostgreSQL does not answer and has not yet.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer; what was known holds on.
        """
        try:
            key_store = read_key_store(self._engine)
        except DatabaseUnavailableError:
            if self._known is None or self._known.until is not None:
                self._take_copy()
            raise
        changed = self._differs(key_store)
        self._known = _Known(key_store)
        if changed:
            log.info("keys_picked_up", keys=len(key_store.keys))
        if changed or self._clock() >= self._copy_due:
            self._write_copy(key_store)

    def note_uses(self) -> None:
        """Write down the uses that PostgreSQL does not have.

        Raises:
            DatabaseUnavailableError: PostgreSQL did not answer; they are kept for the next time.
        """
        uses = self._uses.copy()
        new = {key_id: at for key_id, at in uses.items() if self._noted.get(key_id) != at}
        if new:
            note_uses(self._engine, new)
            self._noted = uses

    def start(self) -> None:
        """Go on until ``stop``; PostgreSQL may be away. Call ``refresh`` first."""
        self._uses_due = self._clock() + _NOTE_USES_S
        self._poller.start()

    def stop(self) -> None:
        """End the thread, and write down the last uses."""
        self._poller.stop()
        try:
            self.note_uses()
        except QuestlineError as error:
            log.warning("key_uses_not_noted", error=str(error))

    def _take_copy(self) -> None:
        """Know what the copy tells; a receiver that reaches PostgreSQL may have made it anew since the last look."""
        try:
            copied = self._copy.read()
        except StateUnavailableError:
            return
        if copied is None:
            return
        if self._differs(copied.key_store):
            log.warning("keys_read_from_copy", keys=len(copied.key_store.keys))
        self._known = _Known(copied.key_store, self._clock() + copied.left.total_seconds())

    def _differs(self, key_store: KeyStore) -> bool:
        return self._known is None or key_store.keys != self._known.key_store.keys

    def _write_copy(self, key_store: KeyStore) -> None:
        try:
            self._copy.write(key_store)
            self._copy_due = self._clock() + _COPY_S
        except StateUnavailableError as error:
            log.debug("keys_not_copied", error=str(error))

    def _poll(self) -> None:
        self.refresh()
        if self._clock() >= self._uses_due:
            self.note_uses()
            self._uses_due = self._clock() + _NOTE_USES_S
