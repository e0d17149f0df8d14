"""Sends requests at a rate or at full speed, and keeps each event's outcome.

A request is repeated, with the same ids, until it has an answer or patience ends: the product counts an event
once, however often it arrives.
"""

import asyncio
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from tools.loadtest.generator import Plan
from tools.loadtest.requests import Request
from tools.loadtest.targets import BusyError, Outcome, Target, UnreachableError

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast to send."""

    concurrency: int
    """How many requests are under way at most."""
    rate: float | None = None
    """Events a second; as many as are taken where not given."""
    patience: float = 60.0
    """Seconds for which a request is tried again."""


@dataclass(slots=True)
class SendReport:
    """What was sent and what the receiver said. Times are of the monotonic clock, in seconds."""

    plan: Plan
    accepted_events: bytearray = field(repr=False)
    """For each event of the plan: 1 where it was accepted at least once."""
    unanswered: set[int] = field(default_factory=set)
    """Events of requests that never got an answer: whether they were taken is not known."""
    sent: int = 0
    """Events in requests, repeats included, retries not."""
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    busy_retries: int = 0
    network_retries: int = 0
    latencies: "array[float]" = field(default_factory=lambda: array("d"), repr=False)
    """Seconds from the time a request was due until its answer, retries included; one for each request."""
    started: float = 0.0
    finished: float = 0.0

    @property
    def seconds(self) -> float:
        """How long sending took."""
        return self.finished - self.started

    @property
    def distinct_accepted(self) -> int:
        """How many different events were accepted."""
        return self.accepted_events.count(1)


async def send(
    plan: Plan,
    requests: Iterable[Request],
    target: Target,
    pace: Pace,
    *,
    on_sent: Callable[[int], None] = lambda _events: None,
) -> SendReport:
    """Send every request of a plan.

    Args:
        plan: the events.
        requests: the plan as requests; taken as they are needed, so they may be made on the way.
        target: where to; opened and closed here.
        pace: how fast, and for how long a request is tried again.
        on_sent: told the number of events of each request that is done.
    """
    report = SendReport(plan, bytearray(plan.distinct))
    async with target:
        report.started = monotonic()
        schedule = _schedule(requests, report.started, pace.rate)
        async with asyncio.TaskGroup() as group:
            for _ in range(pace.concurrency):
                group.create_task(_sender(schedule, target, report, pace.patience, on_sent))
        report.finished = monotonic()
    return report


def _schedule(requests: Iterable[Request], start: float, rate: float | None) -> Iterator[tuple[Request, float | None]]:
    """Each request with the time it is due, fixed beforehand: a slow answer delays no other request."""
    before = 0
    for request in requests:
        yield request, None if rate is None else start + before / rate
        before += len(request.events)


async def _sender(
    schedule: Iterator[tuple[Request, float | None]],
    target: Target,
    report: SendReport,
    patience: float,
    on_sent: Callable[[int], None],
) -> None:
    for request, due in schedule:
        if due is not None and (early := due - monotonic()) > 0:
            await asyncio.sleep(early)
        # Where a rate is asked for, waiting for a free sender counts as latency: the event was there already.
        began = monotonic() if due is None else due
        outcome = await _deliver(request, target, report, patience)
        report.latencies.append(monotonic() - began)
        _note(report, request, outcome)
        on_sent(len(request.events))


async def _deliver(request: Request, target: Target, report: SendReport, patience: float) -> Outcome | None:
    """The answer to a request; None when patience ended before one came."""
    deadline = monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return await target.send(request)
        except BusyError as busy:
            report.busy_retries += 1
            wait = busy.retry_after
        except UnreachableError:
            report.network_retries += 1
            wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
        if monotonic() + wait > deadline:
            return None
        await asyncio.sleep(wait)


def _note(report: SendReport, request: Request, outcome: Outcome | None) -> None:
    report.sent += len(request.events)
    if outcome is None:
        report.unanswered.update(request.events)
        return
    report.accepted += len(request.events) - len(outcome.rejected)
    report.rejected.update(outcome.rejected.values())
    for position, index in enumerate(request.events):
        if position not in outcome.rejected:
            report.accepted_events[index] = 1
