"""The load of a chaos run: events sent from a thread as long as it lasts."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import takewhile
from threading import Thread
from time import time_ns
from typing import Self

from models.rules.goals import Rulebook
from tools.loadtest.generator import Plan, Shape, make_plan
from tools.loadtest.requests import Request, http_requests
from tools.loadtest.sender import Pace, SendReport, send
from tools.loadtest.targets import HttpTarget, Outcome, Target

TENANT = "chaos"
_DUPLICATES = 10.0
_ENOUGH = 3
_BATCH = 10
_SENDERS = 12
_PATIENCE_S = 240.0
_HELD_PAUSE_S = 0.05
_AHEAD_US = 240_000_000
"""How far the newest events lie ahead, which senders' clocks may: so there are events of the times of rules that are
published during the run."""


def draw_load(rulebook: Rulebook, *, seed: int, run: str, events: int) -> Plan:
    """The events of a run: shuffled, a tenth of them repeated, of so many users that new ones come to the end.

    ``events`` is about how many will be sent; there are more in the plan, so that no run has too few.
    """
    shape = Shape(
        events=_ENOUGH * events, users=max(1, events // 4), tenant_id=TENANT, duplicates=_DUPLICATES, seed=seed
    )
    return make_plan(rulebook, shape, run=run, now=time_ns() // 1000 + _AHEAD_US)


class HeldTarget:
    """A target that can be held: no request starts then, and those under way are counted."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.held = False
        self.under_way = 0

    async def __aenter__(self) -> Self:
        await self._target.__aenter__()
        return self

    async def __aexit__(self, *what: object) -> None:
        await self._target.__aexit__(*what)

    async def send(self, request: Request) -> Outcome:
        """See ``Target``."""
        while self.held:  # noqa: ASYNC110 - held by another thread, which an event of this loop could not be set by
            await asyncio.sleep(_HELD_PAUSE_S)
        self.under_way += 1
        try:
            return await self._target.send(request)
        finally:
            self.under_way -= 1


class Load:
    """Sends a plan from a thread of its own, at a rate, until it is told to end."""

    def __init__(self, plan: Plan, url: str, rate: float, on_sent: Callable[[int], None]) -> None:
        self.target = HeldTarget(HttpTarget(url, _SENDERS))
        self.report: SendReport | None = None
        self._plan = plan
        self._pace = Pace(concurrency=_SENDERS, rate=rate, patience=_PATIENCE_S)
        self._on_sent = on_sent
        self._ending = False
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[SendReport] | None = None
        self._thread = Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether there is no report yet."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Begin no further request; those that were begun are sent until they are answered."""
        self._ending = True

    def stop(self) -> None:
        """Give up at once; ``report`` is None then, unless the load had ended."""
        with suppress(RuntimeError):  # the loop is closed: it has ended by itself
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        requests = takewhile(lambda _request: not self._ending, http_requests(self._plan, _BATCH))
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner, suppress(asyncio.CancelledError):
            self.report = runner.run(self._sending(requests))

    async def _sending(self, requests: Iterable[Request]) -> SendReport:
        self._task = asyncio.ensure_future(send(self._plan, requests, self.target, self._pace, on_sent=self._on_sent))
        return await self._task
