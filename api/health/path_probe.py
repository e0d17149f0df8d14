"""Sends probes the whole way and reports where one stops (promise P15).

A receiver takes nothing before a probe of every shard went from its journal to PostgreSQL, by the receiver's own
settings: broker, workers, rules, flush. That is remembered in the state Redis by a fingerprint of these settings, so
that processes which only start again take events at once. From then on one receiver of several sends a probe through
some shards every period, and all of them say what it found.

After the first success a failing station closes no receiver: what is accepted is durable, and the bounds of the journal
decide when enough waits. But a receiver whose events are not applied for a minute is not ready, so that senders go
to one that is. PostgreSQL may be away for as long as these bounds allow.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import NamedTuple, Protocol
from uuid import uuid4

import structlog

from api.health.path_texts import NOT_TRIED, spelled
from config.settings import Settings
from models.database.fleet.probes import ProbeReader
from models.errors import (
    DatabaseUnavailableError,
    JournalFullError,
    NotReadyError,
    StateUnavailableError,
)
from models.events import Event, pack_batch
from models.fleet.probes import Station, probe_event
from models.secrets import without_passwords
from models.state.fleet.path_state import BatchStatus, PathState, Report
from models.state.queue.attempts import Attempts
from models.state.queue.batches import Batch
from models.state.queue.journal import Journal

SHARDS_AT_ONCE = 16
"""Of a period; at the start it is every shard."""
_LOST = timedelta(seconds=30)
"""After this long a probe that is nowhere is sent again: Redis may have been wiped."""
_LEASE = timedelta(seconds=45)
_TOLD_AFTER = timedelta(seconds=10)
"""A probe that waits for less long is not logged."""
_YOUNG_S = 5.0
_MICROSECOND = timedelta(microseconds=1)

log = structlog.get_logger()


class Pace(NamedTuple):
    """When probes set out and are looked at."""

    period: timedelta = timedelta(seconds=15)
    """How often they set out once the way is known to be open."""
    patience: timedelta = timedelta(seconds=60)
    """How long one may take to be applied, once the way is known to be open, before the receiver is not ready."""
    often_s: float = 0.25
    """Between two looks at a probe in its first seconds, and before any has passed."""
    seldom_s: float = 2.0


class _Sent(NamedTuple):
    """A probe under way."""

    event: Event
    batch_id: str
    since: int
    """When (µs) the first of those set out that it stands for."""


class Publisher(Protocol):
    """Sends messages for batches that the journal has."""

    def ring(self, batches: Sequence[Batch], /) -> None:
        """One for each; raises BrokerUnavailableError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PathParts:
    """What a probe meets on its way, as the receiver has it."""

    shards: int
    journal: Journal
    attempts: Attempts
    path: PathState
    rows: ProbeReader
    fingerprint: str
    """Of the settings that lead the way."""
    now_us: Callable[[], int]


def fingerprint_of(settings: Settings, release: str) -> str:
    """What a success holds for: servers, number of shards and release; passwords may change."""
    urls = (settings.broker, settings.state, settings.database_url)
    text = "\n".join([*map(without_passwords, urls), str(settings.shards), release])
    return hashlib.sha256(text.encode()).hexdigest()


class PathProbe:
    """One receiver's probes. ``step`` belongs to one thread; the checks may be asked from any."""

    def __init__(self, parts: PathParts, pace: Pace = Pace()) -> None:  # noqa: B008 - a value that never changes
        self._parts, self._pace = parts, pace
        self._resized: PathParts | None = None
        self._name = uuid4().hex
        self._sent: dict[int, _Sent] = {}
        self._arrived_last: dict[int, Event] = {}
        self._told = ""
        self._next_shard = 0
        self._next_at = self._looked_at = float("-inf")
        self._is_open = self._has_recalled = False
        self._report = Report(parts.now_us(), Station.JOURNAL, (), parts.now_us(), NOT_TRIED)

    def resize(self, shards: int, fingerprint: str) -> None:
        """Send probes through so many shards from the next step on; what is under way counts no more."""
        self._resized = replace(self._parts, shards=shards, fingerprint=fingerprint)

    def require_open(self) -> None:
        """Let events in.

        Raises:
            NotReadyError: no probe has gone the whole way yet.
        """
        if not self._is_open:
            raise NotReadyError(f"no event can go the whole way yet: {spelled(self._report)}")

    def require_applied(self) -> None:
        """Whether what is accepted is applied.

        Raises:
            NotReadyError: no probe has gone the whole way yet, or one has not been applied for a while.
        """
        self.require_open()
        report = self._report
        if report.station not in ("", Station.FLUSH, Station.DATABASE) and self._waits(report) > self._pace.patience:
            raise NotReadyError(spelled(report))

    def require_flushed(self, patience: timedelta) -> None:
        """Whether what is applied comes to PostgreSQL.

        Raises:
            NotReadyError: a probe has not come there for ``patience``.
        """
        report = self._report
        if report.station in (Station.FLUSH, Station.DATABASE) and self._waits(report) > patience:
            raise NotReadyError(spelled(report))

    def step(self) -> None:
        """Do what is due: recall an earlier success, send probes, or look where they are."""
        if self._resized is not None:  # by another thread, which must not take away what a look goes by
            self._parts, self._resized = self._resized, None
            self._sent, self._arrived_last, self._next_shard = {}, {}, 0
            self._next_at = float("-inf")  # at once: a receiver that starts again soon shall find it remembered
        try:
            if not self._has_recalled:
                self.recall()
            if self._sent:
                if monotonic() - self._looked_at >= self._pause():
                    self._poll()
            elif monotonic() >= self._next_at:
                self._begin()
        except StateUnavailableError as error:
            self._take(self._failing(Station.JOURNAL, sorted(self._sent), error))

    def recall(self) -> None:
        """Be open at once where a probe has come through by these settings before; else ``step`` finds out.

        Raises:
            StateUnavailableError: the state Redis did not answer.
        """
        parts = self._parts
        self._is_open = parts.path.has_passed(parts.fingerprint)
        self._has_recalled = True
        if self._is_open:
            self._report = Report(parts.now_us())
            log.info("path_open", remembered=True)

    def _begin(self) -> None:
        """Send the probes of a period; where another receiver does it, take over what that one found."""
        self._next_at = monotonic() + self._pace.period.total_seconds()
        if self._is_open and not self._parts.path.lead(self._name, _LEASE):
            self._report = self._parts.path.report() or self._report
            return
        number = self._parts.shards
        shards = range(number)
        if self._is_open and number > SHARDS_AT_ONCE:
            shards = range(self._next_shard, min(self._next_shard + SHARDS_AT_ONCE, number))
            self._next_shard = shards[-1] + 1 if shards[-1] + 1 < number else 0
        self._send(shards)

    def _send(self, shards: Sequence[int]) -> None:
        parts, now = self._parts, self._parts.now_us()
        events = {shard: probe_event(shard, parts.shards, now) for shard in shards}
        batches = [Batch(shard, "", pack_batch([event]), shards=parts.shards) for shard, event in events.items()]
        appended = parts.journal.append(batches, now // 1000)
        if appended.full and not self._is_open:
            self._sent, self._next_at = {}, monotonic() + 1
            self._take(Report(now, Station.JOURNAL, sorted(appended.full), now, JournalFullError.__name__))
            return
        for batch in appended.accepted:  # of the others the checks of the bounds tell
            since = self._sent[batch.shard].since if batch.shard in self._sent else now
            self._sent[batch.shard] = _Sent(events[batch.shard], batch.batch_id, since)
        self._looked_at = monotonic()

    def _poll(self) -> None:
        self._looked_at = monotonic()
        parts = self._parts
        statuses = parts.path.statuses({shard: one.batch_id for shard, one in self._sent.items()})
        waiting, fault = self._arrived(statuses)
        done = {shard: one for shard, one in self._sent.items() if shard not in waiting}
        # Of a user's set of ids the newest stays: a set that is empty is no set.
        parts.path.forget_ids({s: self._arrived_last[s] for s in done if s in self._arrived_last}, parts.now_us())
        self._arrived_last |= {shard: one.event for shard, one in done.items()}
        for shard in done:
            del self._sent[shard]
        if not self._sent:
            self._pass()
            return
        station = min(waiting.values(), key=list(Station).index)
        shards = sorted(shard for shard, at in waiting.items() if at == station)
        self._take(self._failing(station, shards, fault if station == Station.DATABASE else None))
        lost = [shard for shard in shards if statuses[shard] is BatchStatus.GONE and self._is_lost(shard)]
        if lost:
            self._send(lost)

    def _arrived(
        self, statuses: Mapping[int, BatchStatus]
    ) -> tuple[dict[int, Station], DatabaseUnavailableError | None]:
        """The stations of the probes that have not arrived, and why PostgreSQL could not be asked for the others."""
        waiting = {
            shard: Station.WORKER if status is BatchStatus.READY else Station.APPLY
            for shard, status in statuses.items()
            if status is not BatchStatus.GONE
        }
        gone = [shard for shard, status in statuses.items() if status is BatchStatus.GONE]
        if not gone:
            return waiting, None
        try:
            newest = self._parts.rows.newest()
        except DatabaseUnavailableError as error:
            return waiting | dict.fromkeys(gone, Station.DATABASE), error
        for shard in gone:
            if newest.get(shard, 0) < self._sent[shard].event.occurred_at:
                waiting[shard] = Station.FLUSH
        return waiting, None

    def _failing(self, station: Station, shards: Sequence[int], error: Exception | None) -> Report:
        """A report on a station, with the last error that is known of it."""
        now = self._parts.now_us()
        since = min((self._sent[shard].since for shard in shards if shard in self._sent), default=0)
        kind, text = type(error).__name__, str(error)
        if error is None:
            kind, text = self._last_error(station, shards, now)
        return Report(now, station, shards, since or self._report.since_us or now, kind, text)

    def _last_error(self, station: Station, shards: Sequence[int], now: int) -> tuple[str, str]:
        parts = self._parts
        noted = parts.path.fault(station, now)
        if noted is not None:
            return noted.kind, noted.error
        for shard in shards[:1]:
            known = parts.attempts.of(shard, self._sent[shard].batch_id)
            if known.error:
                return known.exception or "", known.error
        return "", ""

    def _pass(self) -> None:
        parts, now = self._parts, self._parts.now_us()
        self._next_at = monotonic() + self._pace.period.total_seconds()
        if not self._is_open:
            log.info("path_open", remembered=False)
        self._is_open = True
        self._take(Report(now))
        parts.path.remember(parts.fingerprint, now)

    def _take(self, report: Report) -> None:
        self._report = report
        if report.station != self._told and (not report.station or self._waits(report) > _TOLD_AFTER):
            self._told = report.station
            if report.station:
                log.warning("path_blocked", station=report.station, shards=list(report.shards), error=report.error)
            else:
                log.info("path_clear")
        self._parts.path.save(report)

    def _is_lost(self, shard: int) -> bool:
        return (self._parts.now_us() - self._sent[shard].event.occurred_at) * _MICROSECOND > _LOST

    def _waits(self, report: Report) -> timedelta:
        return (self._parts.now_us() - report.since_us) * _MICROSECOND

    def _pause(self) -> float:
        first = min(one.since for one in self._sent.values())
        young = (self._parts.now_us() - first) / 1e6 < _YOUNG_S
        return self._pace.often_s if young or not self._is_open else self._pace.seldom_s
