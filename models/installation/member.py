"""A process as a member: it reports itself and notices changed settings."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from signal import SIGTERM
from time import monotonic

import structlog

from config.settings import Settings
from config.shared_settings import shared_values, with_shared_values
from models.errors import ConfigurationError, RetryableError
from models.fleet.installation import PROVISIONAL, InstallationRecord
from models.installation.clocks import system_clock_us
from models.installation.joining import agree_again
from models.pollers import Poller
from models.state.connection import connect_state
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.presence import Presence, ProcessFacts

POLL_SECONDS = 1.0
_NOTE_SECONDS = 5.0
_AGREEMENT_SECONDS = 10.0
_SOCKET_TIMEOUT = 2.0
"""Seconds that a Redis which hangs may hold a worker's event loop at a look."""
_OWN = ("evaluation_log", "journal_max_bytes", "journal_max_age", "dirty_max_users", "journal_retry_after")

OnChange = Callable[[InstallationRecord], bool]
"""Takes up a changed record; tells whether the process can go on with it."""

log = structlog.get_logger()


def _cannot_go_on(_record: InstallationRecord) -> bool:
    return False


class Member:
    """One process, from ``poll`` to ``poll``. Contacts no server before that."""

    def __init__(
        self,
        settings: Settings,
        role: str,
        *,
        on_change: OnChange = _cannot_go_on,
        stop: Callable[[], None] | None = None,
    ) -> None:
        """``stop`` ends the process where it cannot go on: its supervisor starts it again, as it agrees then."""
        redis = connect_state(settings.state, socket_timeout=_SOCKET_TIMEOUT)
        self._settings = settings
        self._copy, self._presence = InstallationCopy(redis), Presence(redis)
        self._on_change, self._stop = on_change, stop or _end_this_process
        self._stopping = False
        self._note_due = self._agreement_due = 0.0
        self._id: str | None = None
        self._facts = ProcessFacts(
            name=f"{role}@{socket.gethostname()}:{os.getpid()}",
            role=role,
            release=version("questline"),
            revision=PROVISIONAL,
            values=shared_values(settings),
            own={name.upper(): str(getattr(settings, name)) for name in _OWN},
        )

    @property
    def name(self) -> str:
        """Its name among the processes alive."""
        return self._facts.name

    def stands_by(self, waits: bool) -> None:
        """Whether the process only waits for another one to end; said at the next look."""
        if waits is not self._facts.stands_by:
            self._facts, self._note_due = replace(self._facts, stands_by=waits), 0.0

    def poll(self) -> None:
        """Compare with the installation's record, and say that the process is alive."""
        try:
            self._poll()
        except RetryableError as error:
            log.debug("installation_not_read", error=str(error))  # whatever else the process does will say so
        except ConfigurationError as error:
            self._end(str(error))

    def _poll(self) -> None:
        record = self._copy.read()
        if record is None or record.revision == PROVISIONAL or record.revision < self._facts.revision:
            record = self._agreed_record()  # Redis was wiped, or went back in time: PostgreSQL says what holds
        if (
            record is not None and record.revision >= self._facts.revision
        ):  # an older one waits until PostgreSQL answers
            self._compare(record)
        if monotonic() >= self._note_due:
            self._note()

    def leave(self) -> None:
        """Say that the process ends."""
        with suppress(RetryableError):
            self._presence.leave(self.name)

    def _agreed_record(self) -> InstallationRecord | None:
        """Look what PostgreSQL says."""
        if monotonic() < self._agreement_due:
            return None
        self._agreement_due = monotonic() + _AGREEMENT_SECONDS
        return agree_again(with_shared_values(self._settings, self._facts.values))

    def _compare(self, record: InstallationRecord) -> None:
        known = self._id in {None, record.installation_id}
        if (known and record.values == self._facts.values) or (known and self._on_change(record)):
            if (self._id, self._facts.revision) != (record.installation_id, record.revision):
                self._id, self._note_due = record.installation_id, 0.0
                self._facts = replace(self._facts, revision=record.revision, values=dict(record.values))
        else:
            changed = [name for name, value in record.values.items() if self._facts.values.get(name) != value]
            self._end(f"{', '.join(changed) or 'the installation'} changed")

    def _end(self, reason: str) -> None:
        if not self._stopping:
            self._stopping = True
            log.warning("installation_changed", reason=reason)
            self._stop()

    def _note(self) -> None:
        before = system_clock_us()
        now_ms = self._presence.note(self._facts)
        ours_ms = (before + system_clock_us()) // 2000
        self._facts = replace(self._facts, skew_ms=ours_ms - now_ms)
        self._note_due = monotonic() + _NOTE_SECONDS


def membership(member: Member) -> Poller:
    """The thread of a process in which it looks; to be started and stopped."""
    return Poller(
        "installation",
        member.poll,
        POLL_SECONDS,
        failed=lambda error: log.debug("installation_not_read", error=str(error)),
        broke=lambda error: log.error("installation_watch_broke", exc_info=error),
    )


def _end_this_process() -> None:
    os.kill(os.getpid(), SIGTERM)
