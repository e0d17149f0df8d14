"""The ingest pipeline of HTTP and gRPC: read items, commit the good ones, count.

Parsed items and a function that reads one of them give a receipt. It knows no transport.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from ingest.group_commit import GroupCommitter
from ingest.quotas import Quotas
from ingest.reingestion import event_fault
from ingest.validation import EVENTS_AS_SENT, Fault, Window, window_at
from models.access.callers import ANYBODY, Caller
from models.access.quotas import Sent
from models.declarations.metrics import EVENTS, EVENTS_ACCEPTED, EVENTS_IGNORED, EVENTS_REDRIVEN, EVENTS_REJECTED
from models.events import Event
from models.failpoints import now_us
from models.fairness import Turns
from models.state.metrics import Metrics

_MAX_ECHO = 256
_MAX_TOLD = 1_000
"""After so many faults of a request only the first of each event is told."""
AT_ONCE = 32
"""Requests that are read and written at once; the others wait for their turn. They keep a processor busy, and more
would only make each step of the event loop longer, and each request waits for several."""
_PART = 64


@dataclass(frozen=True, slots=True)
class Rejection:
    """A fault of a refused event: where it stood in the request, its id where that could be read, and what is wrong."""

    index: int
    event_id: str | None
    code: str
    field: str
    message: str


@dataclass(slots=True)
class Receipt:
    """What became of the items of one request."""

    accepted: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    ignored: int = 0

    def refuse(self, index: int, event_id: str | None, faults: Sequence[Fault]) -> None:
        """Note all that is wrong with an item."""
        told = faults if len(self.rejected) < _MAX_TOLD else faults[:1]
        self.rejected += [Rejection(index, event_id, fault.code, fault.field, fault.message) for fault in told]


class ItemReader(Protocol):
    """Reads the items of one kind of request."""

    @property
    def id_field(self) -> str:
        """Where a JSON item has its id."""
        ...

    def read(self, item: Any, window: Window) -> Event | list[Fault] | None:
        """The event of an item, or all that is wrong with it; None means: acknowledged, but none of ours."""
        ...


class Gate(Protocol):
    """Whether events may be accepted at all."""

    def require_open(self) -> None:
        """Raises NotReadyError while no event can go the whole way."""
        ...


class OpenGate:
    """Lets everything in."""

    def require_open(self) -> None:
        """Raises nothing."""


class IngestPipeline:
    """Takes the items of one request at a time from any number of coroutines."""

    def __init__(  # noqa: PLR0913 - each of them by name
        self,
        committer: GroupCommitter,
        metrics: Metrics,
        *,
        max_lateness: timedelta,
        clock: Callable[[], int] = now_us,
        gate: Gate = OpenGate(),  # noqa: B008 - a value that never changes
        quotas: Quotas | None = None,
    ) -> None:
        """Without ``quotas`` senders are not bounded."""
        self._gate = gate
        self._turns = Turns(AT_ONCE)
        self._committer = committer
        self._metrics = metrics
        self._max_lateness = max_lateness
        self._clock = clock
        self._quotas = quotas

    def check(self, caller: Caller) -> None:
        """Refuse a request before its body is read.

        Raises:
            NotReadyError: nothing is accepted yet.
            QuotaExceededError: its caller may send nothing now.
        """
        self._gate.require_open()
        if self._quotas is not None:
            self._quotas.check(caller)

    async def take(
        self,
        items: Sequence[Any],
        reader: ItemReader = EVENTS_AS_SENT,
        *,
        caller: Caller = ANYBODY,
        size: int = 0,
    ) -> Receipt:
        """Return when the journal has every good item of a request of ``size`` bytes.

        Raises:
            QuotaExceededError: the request is more than may be sent now; nothing of it is accepted.
            JournalFullError: nothing is accepted until workers catch up.
            StateUnavailableError: the journal did not answer.
            NotReadyError: nothing is accepted yet.
        """
        self._gate.require_open()
        self._metrics.count(EVENTS, len(items))
        async with self._turns.turn(caller.tenant_id):
            receipt, events = await self._read(items, reader)
            if self._quotas is not None and events:
                self._quotas.spend(caller, _by_tenant(events, size))
            await self._committer.commit(events)
        receipt.accepted = len(events)
        self._count(receipt)
        return receipt

    async def _read(self, items: Sequence[Any], reader: ItemReader) -> tuple[Receipt, list[Event]]:
        """Read the items, a part at a time: others may go on in between."""
        window = window_at(self._clock(), self._max_lateness)
        receipt, events = Receipt(), list[Event]()
        for index, item in enumerate(items):
            if index % _PART == _PART - 1:
                await asyncio.sleep(0)
            outcome = reader.read(item, window)
            if type(outcome) is Event:
                events.append(outcome)
            elif type(outcome) is list:
                receipt.refuse(index, _readable_id(item, reader.id_field), outcome)
            else:
                receipt.ignored += 1
        return receipt, events

    async def reingest(self, events: Sequence[Event], *, dry_run: bool = False) -> list[Fault | None]:
        """Take events that were accepted before, as they were; return when the journal has every good one.

        With ``dry_run`` they are looked at only.

        Returns:
            For each event None, or why it is refused.

        Raises:
            JournalFullError, StateUnavailableError, NotReadyError: as ``take``.
        """
        self._gate.require_open()
        window = window_at(self._clock(), self._max_lateness)
        faults = [event_fault(event, window) for event in events]
        good = [event for event, fault in zip(events, faults, strict=True) if fault is None]
        if not dry_run:
            await self._committer.commit(good)
            self._metrics.count(EVENTS_REDRIVEN, len(good))
        return faults

    def _count(self, receipt: Receipt) -> None:
        if receipt.accepted:
            self._metrics.count(EVENTS_ACCEPTED, receipt.accepted)
        if receipt.ignored:
            self._metrics.count(EVENTS_IGNORED, receipt.ignored)
        firsts = {rejection.index: rejection.code for rejection in reversed(receipt.rejected)}
        for code, times in Counter(firsts.values()).items():
            self._metrics.count(EVENTS_REJECTED, times, label=code)


def _by_tenant(events: Sequence[Event], size: int) -> dict[str, Sent]:
    """What a request brings of each tenant; of the bytes each has as large a part as of the events."""
    numbers = Counter(event.tenant_id for event in events)
    return {tenant: Sent(number, size * number // len(events)) for tenant, number in numbers.items()}


def _readable_id(item: Any, id_field: str) -> str | None:
    event_id = item.get(id_field) if type(item) is dict else None
    if type(event_id) is not str or len(event_id) > _MAX_ECHO:
        return None
    return event_id.encode(errors="backslashreplace").decode()  # half a surrogate pair cannot be answered
