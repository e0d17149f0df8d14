"""Group commit: requests that arrive together share one journal write.

In come accepted events from coroutines; out go batches, one journal call for a whole group, from one thread of our own,
because the call blocks. While a group is being written the next one gathers,
so batches grow with the load. A group is bounded by bytes, and what waits for one goes by turns of the tenants: large
requests of one of them delay the others by a group at most. It knows neither HTTP nor Redis: the call is handed in.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Condition, Thread

import structlog

from ingest.group import CommitLimits, Group, Request, TenantShard, give_up, make_request
from models.declarations.metrics import COMMIT_SECONDS, REQUESTS_OVERLOADED
from models.errors import (
    Bound,
    JournalFullError,
    NotReadyError,
    RetryableError,
    StateUnavailableError,
)
from models.events import Event
from models.failpoints import failpoint, now_us
from models.fairness import FairQueue, Shares
from models.state.metrics import Metrics
from models.state.queue.batches import Appended, Batch

Append = Callable[[Sequence[Batch], int], Appended]
"""Journals batches at a time in milliseconds, or raises StateUnavailableError."""

_RESIZED = "the number of shards has changed"

log = structlog.get_logger()


class GroupCommitter:
    """Takes events from coroutines and returns when the journal has them."""

    def __init__(
        self,
        append: Append,
        metrics: Metrics,
        limits: CommitLimits,
        *,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._append = append
        self._metrics = metrics
        self._limits = limits
        self._clock = clock
        self._changed = Condition()
        self._waiting: FairQueue[Request] = FairQueue()
        self._waiting_bytes = 0
        self._waiting_events: Counter[TenantShard] = Counter()
        self._waiting_since = float("-inf")
        self._is_full = False
        """Whether a group is worth its write now, so that it waits for no company."""
        self._held = Shares(limits.max_held_bytes)
        self._closing = False
        self._is_healthy = True
        self._thread = Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    def close(self) -> None:
        """Write what is held, then end the thread. Blocks; events that come later are refused."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def resize(self, shards: int) -> None:
        """Go by another number of shards from now on; who waits is asked for another try."""
        with self._changed:
            self._limits = self._limits._replace(shards=shards)
            left = [self._waiting.take() for _ in range(len(self._waiting))]
            self._waiting_bytes, self._is_full = 0, False
            self._waiting_events.clear()
            for request in left:
                self._held.give_back(request.owner, request.size)
        give_up(left, _RESIZED)

    async def commit(self, events: Sequence[Event]) -> None:
        """Wait until the journal has the events.

        Raises:
            JournalFullError: the journal, or the memory for events that wait for it, has reached its bound.
            StateUnavailableError: the journal did not answer, or the receiver is stopping. The events may
                be in the journal all the same; sent again they are known by their ids.
        """
        if not events:
            return
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[RetryableError | None] = loop.create_future()
        self._join(make_request(events, loop, answer, self._limits.shards))
        failure = await answer
        if failure is not None:
            raise failure

    def _join(self, request: Request) -> None:
        with self._changed:
            if self._closing:
                raise StateUnavailableError("the receiver is stopping")
            if request.shards != self._limits.shards:
                raise StateUnavailableError(_RESIZED)
            self._hold(request)
            wake, was_full = not self._waiting, self._is_full
            if wake:
                self._waiting_since = request.since
            self._waiting.put(request.owner, request, request.size)
            self._waiting_bytes += request.size
            for tenant_shard, events in request.events.items():
                self._waiting_events[tenant_shard] += len(events)
                self._is_full = self._is_full or self._waiting_events[tenant_shard] >= self._limits.max_events
            limits = self._limits
            is_worth_it = self._waiting_bytes >= limits.max_group_bytes or len(self._waiting) >= limits.max_requests
            self._is_full = self._is_full or is_worth_it
            if wake or self._is_full is not was_full:
                self._changed.notify()

    def _hold(self, request: Request) -> None:
        """Count the memory of a request. One that is alone may be of any size."""
        bound = None
        if self._held.held and self._held.is_full(request.size):
            bound = Bound.RECEIVER_MEMORY
        elif self._held.held and self._held.is_past_share(request.owner, request.size):
            bound = Bound.TENANT_MEMORY
        if bound is not None:
            failure = JournalFullError(bound)
            self._count_overload(failure)
            raise failure
        self._held.take(request.owner, request.size)

    def check(self) -> None:
        """Whether events are still written.

        Raises:
            NotReadyError: the thread that writes has ended.
        """
        if self._thread.ident is not None and not self._thread.is_alive():
            raise NotReadyError("the thread that writes events has ended: start the receiver again")

    def _run(self) -> None:
        try:
            while (group := self._next_group()) is not None:
                self._commit_safely(group)
        except Exception:
            log.exception("group_commit_ended")
        finally:
            self._leave()

    def _commit_safely(self, group: Group) -> None:
        """Whatever breaks beside the write, callers get an answer, and the next group its turn."""
        fault = None
        try:
            self._commit_group(group)
        except Exception as error:
            log.exception("group_commit_broke", waiters=len(group.requests))
            fault = f"the group commit failed: {error!r}"
        with self._changed:
            for request in group.requests:
                self._held.give_back(request.owner, request.size)
        if fault is not None:  # there is room again for who tries again at once
            group.give_up(fault)

    def _leave(self) -> None:
        """Nobody waits for a thread that has ended: neither those who are here, nor those who come."""
        with self._changed:
            self._closing = True
            left = [self._waiting.take() for _ in range(len(self._waiting))]
        give_up(left, "the thread that writes events has ended")

    def _next_group(self) -> Group | None:
        """Wait for a first event, then for company: the linger, or a full shard, or the end."""
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            deadline = self._waiting_since + self._limits.linger.total_seconds()
            while not (self._is_full or self._closing) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._fill_group()

    def _fill_group(self) -> Group:
        """Tenants by turns, until the group has enough; what is left is worth the next one."""
        group = Group()
        while self._waiting and group.has_room(self._waiting.peek(), self._limits.max_group_bytes):
            request = self._waiting.take()
            group.add(request)
            self._waiting_bytes -= request.size
            for tenant_shard, events in request.events.items():
                self._waiting_events[tenant_shard] -= len(events)
        self._is_full = bool(self._waiting)
        if not self._is_full:
            self._waiting_events.clear()
        return group

    def _commit_group(self, group: Group) -> None:
        batches: list[Batch] = []
        appended = Appended([])
        failure: RetryableError | None = None
        try:
            batches.extend(group.batches(self._limits.max_events))
            appended = self._append(batches, self._clock() // 1_000)
            failpoint("journal.appended")
            if appended.unconfirmed:
                failure = StateUnavailableError(appended.unconfirmed)
        except StateUnavailableError as error:
            failure = error
        except Exception as error:
            log.exception("group_commit_broke", batches=len(batches))
            failure = StateUnavailableError(f"the group commit failed: {error!r}")
        self._metrics.observe(COMMIT_SECONDS, time.monotonic() - group.since)
        self._note(failure or (JournalFullError(appended.full) if appended.refused else None))
        for refusal in group.resolve(failure, appended.refused):
            self._count_overload(refusal)

    def _count_overload(self, refusal: JournalFullError) -> None:
        for bound in refusal.bounds:
            self._metrics.count(REQUESTS_OVERLOADED, label=bound)

    def _note(self, failure: Exception | None) -> None:
        """Log when writing begins to fail and when it works again, not every group between."""
        if (failure is None) is self._is_healthy:
            return
        self._is_healthy = failure is None
        if failure is None:
            log.info("group_commit_recovered", step="journal")
        else:
            log.warning("group_commit_failing", step="journal", error=str(failure), kind=type(failure).__name__)
