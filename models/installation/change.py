"""Changing a shared setting on a live installation; resumable anywhere.

Each step of a change is a new revision of the record, in PostgreSQL first. ``SHARDS`` and ``MAX_LATENESS`` say where
Redis keeps what it knows of users, so a change of them goes through these steps:

1. Draining. The shards take nothing more (503 for senders; reading goes on), workers and flush bring everything to
   PostgreSQL. Until here it may be given up, and nothing has changed.
2. Switching. The new values hold. Redis forgets all users: their next events load them from PostgreSQL. Receivers take
   the new number up, other processes end, and are started again by their supervisor.
3. The shards are opened by the new number.

Cut off in between, the installation stays closed and says so, and the same command goes on where it stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Protocol

import structlog

from models.database.fleet.installation import InstallationTable
from models.errors import PermanentError, RetryableError
from models.fleet.installation import Change, InstallationRecord, Step
from models.state.fleet.installation import InstallationCopy
from models.state.fleet.layout import Layouts, most_shards
from models.state.fleet.presence import Presence

_POLL_SECONDS = 0.1
_FOLLOW_SECONDS = 30.0
"""How long processes may take to end or to take a change up: one that is silent for 15 s counts as gone."""

log = structlog.get_logger()


class Lock(Protocol):
    """What keeps others from changing settings meanwhile."""

    def check(self) -> None:
        """Raises DatabaseUnavailableError where it is not held any more."""


class Progress(Protocol):
    """Hears how far a change is."""

    def draining(self, left: int) -> None:
        """So many things wait for PostgreSQL."""

    def forgetting(self, keys: int) -> None:
        """So many keys of users were dropped from Redis, in one step of several."""

    def waiting(self, processes: int) -> None:
        """So many processes go by the old values."""


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """What a change did."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    resumed: bool = False
    """Whether it went on with a change that had been cut off."""
    paused_seconds: float = 0.0
    """How long no event was accepted, as far as this command knows."""
    keys_dropped: int = 0
    """Keys of users in Redis."""


class Drain(Protocol):
    """What waits for PostgreSQL, and how it gets there."""

    def left(self, shards: int) -> int:
        """Batches, log entries and dirty users of so many shards; raises StateUnavailableError."""
        ...

    def flush(self) -> object:
        """Write what workers have applied; raises a RetryableError where that must wait."""
        ...

    def mark(self, shards: int) -> None:
        """Let a Redis that goes back to before this time be behind, in so many shards."""
        ...


@dataclass(slots=True)
class Changer:
    """One change of the shared settings, under the lock of such changes."""

    table: InstallationTable
    copy: InstallationCopy
    layouts: Layouts
    presence: Presence
    drain: Drain
    lock: Lock
    progress: Progress
    patience_s: float = 120.0
    """How long draining may take before the change is given up."""
    _dropped: int = field(default=0, init=False)

    def values(self) -> Mapping[str, str]:
        """The shared settings as they are."""
        return self._record().values

    def set_value(self, name: str, value: str) -> ChangeReport:
        """Change a setting for which nothing has to be moved.

        Raises:
            PermanentError: a change of another kind is under way.
        """
        before = self._record()
        if before.change is not None:
            raise PermanentError(_under_way(before.change))
        if before.values.get(name) != value:
            self._write(before, before.changed({name: value}))
        return ChangeReport(before.values, self._record().values)

    def resize(self, values: Mapping[str, str]) -> ChangeReport:
        """Change settings by which Redis is laid out.

        Raises:
            PermanentError: it was given up, since something keeps waiting, or another change is under way.
            RetryableError: a server does not answer; the same command goes on.
        """
        started = monotonic()
        record = first = self._record()
        resumed = record.change is not None
        if record.change is None:
            if all(record.values.get(name) == value for name, value in values.items()):
                return ChangeReport(record.values, record.values)
            record = self._write(record, record.changed({}, Change(values, Step.DRAINING)))
        elif dict(record.change.values) != dict(values):
            raise PermanentError(_under_way(record.change))
        self._publish(record)  # once more, for a change that was cut off
        if record.change is not None and record.change.step is Step.DRAINING:
            self._drained(record)
            record = self._write(record, record.changed(values, Change(values, Step.SWITCHING)))
        self._switch(record)
        record = self._write(record, record.changed({}))
        return ChangeReport(first.values, record.values, resumed, monotonic() - started, self._dropped)

    def give_up(self) -> InstallationRecord:
        """Open the installation again by its old values.

        Raises:
            PermanentError: the new ones hold already.
        """
        record = self._record()
        if record.change is None:
            return record
        if record.change.step is not Step.DRAINING:
            raise PermanentError("the new values hold already: give the same command again to finish the change")
        return self._write(record, record.changed({}))

    def _record(self) -> InstallationRecord:
        record = self.table.read()
        if record is None:
            raise PermanentError("this installation has no record of its settings yet: run `questline migrate`")
        return record

    def _write(self, old: InstallationRecord, new: InstallationRecord) -> InstallationRecord:
        self.lock.check()
        if not self.table.replace(new, over=old.revision):
            raise PermanentError("the shared settings were changed meanwhile: look at `questline settings show`")
        self._publish(new)
        return new

    def _publish(self, record: InstallationRecord) -> None:
        self.copy.write(record)
        self.layouts.follow(record)

    def _drained(self, record: InstallationRecord) -> None:
        """Wait until PostgreSQL has everything; open again if that does not come to an end.

        In shards of an earlier, larger number there may be what a Redis of before that change brought back: PostgreSQL
        has had it since, and nobody would ever take it there.
        """
        deadline = monotonic() + self.patience_s
        shards, last = int(record.values["SHARDS"]), ""
        while left := self.drain.left(shards):
            self.progress.draining(left)
            if monotonic() > deadline:
                self.give_up()
                raise PermanentError(
                    f"given up, and nothing was changed: {left} batches, users and log entries still wait for "
                    f"PostgreSQL{f' ({last})' if last else ''}; look at `questline doctor`"
                )
            last = self._flush()
            sleep(_POLL_SECONDS)
        self.progress.draining(0)

    def _flush(self) -> str:
        try:
            self.drain.flush()
        except RetryableError as error:
            return str(error)
        return ""

    def _switch(self, record: InstallationRecord) -> None:
        """Redis knows no user any more, and no process goes by the old values: in this order, and then once more.

        A worker that had a batch in hand may load users' attributes until it ends.
        """
        most, shards = most_shards(record), int(record.values["SHARDS"])
        self.layouts.begin_epoch(most)
        self.drain.mark(most)  # a Redis of before the change holds records of an epoch that it believes
        self._forget()
        self._wait_for_processes(record)
        self._forget()
        self.layouts.lift_counters(shards, most)
        self.layouts.gather_counts(shards, most)

    def _forget(self) -> None:
        for keys in self.layouts.forget_users():
            self.lock.check()
            self._dropped += keys
            self.progress.forgetting(keys)

    def _wait_for_processes(self, record: InstallationRecord) -> None:
        deadline = monotonic() + _FOLLOW_SECONDS
        while behind := [one for one in self.presence.alive() if dict(one.values) != dict(record.values)]:
            self.progress.waiting(len(behind))
            if monotonic() > deadline:
                log.warning("processes_do_not_follow", processes=[one.name for one in behind])
                return
            sleep(_POLL_SECONDS)
        self.progress.waiting(0)


def _under_way(change: Change) -> str:
    wanted = ", ".join(f"{name}={value}" for name, value in change.values.items())
    return f"a change to {wanted} is under way ({change.step}): finish it first, by the same command"
