"""A group of requests on its way to the journal: batches and waiting callers.

Requests become packed batches of one tenant and one shard each; callers are answered when their fate is known. It
holds no lock: the committer fills a group under its own, and is alone with it afterwards.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

import structlog

from config.shards import shard_for
from models.errors import Bound, JournalFullError, QuotaExceededError, RetryableError, StateUnavailableError
from models.events import Event, pack_batch
from models.state.queue.batches import Batch

EVENT_BYTES = 512
"""About what an event takes in memory without its payload: ten objects and their texts."""
BATCH_BYTES = 64 * 1024
"""Of payloads in a batch, where it holds several events: a worker's turns are of whole batches."""

log = structlog.get_logger()

NEW_USERS_RETRY_S = 60
"""When to try again after the quota of new users: it is counted over an hour, so some of it comes back all the time."""
TenantShard = tuple[str, int]
"""A tenant and a shard."""


class CommitLimits(NamedTuple):
    """How events are grouped: the shards, how long a first event waits, how large a batch and a group grow."""

    shards: int
    linger: timedelta
    max_events: int
    max_held_bytes: int = 64 * 1024 * 1024
    """About how much memory the events may take that wait for the journal."""
    max_requests: int = 16
    """As many wait for no further company: the receiver works on about twice as many at once (``pipeline.AT_ONCE``)."""
    max_group_bytes: int = 256 * 1024
    """Of a group of several requests: a small one is to wait for no large one of others beside it, nor for all."""


@dataclass(slots=True)
class Request:
    """A caller's events by place, and the caller."""

    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[RetryableError | None]
    events: Mapping[TenantShard, Sequence[Event]]
    size: int
    """About what they take in memory."""
    shards: int
    """By how many shards the places were found."""
    since: float = field(default_factory=time.monotonic)

    @property
    def owner(self) -> str:
        """Whose turns it takes: an operator's request may be of several tenants."""
        return next(iter(self.events))[0]


def make_request(
    events: Sequence[Event],
    loop: asyncio.AbstractEventLoop,
    answer: asyncio.Future[RetryableError | None],
    shards: int,
) -> Request:
    """A request of these events, at least one."""
    by_tenant_shard: defaultdict[TenantShard, list[Event]] = defaultdict(list)
    for event in events:
        by_tenant_shard[event.tenant_id, shard_for(event.tenant_id, event.user_id, shards)].append(event)
    size = EVENT_BYTES * len(events) + sum([len(event.payload) for event in events])
    return Request(loop, answer, by_tenant_shard, size, shards)


_Fate = tuple[Request, RetryableError | None]


class Group:
    """What is written together; the places of all its requests were found by one number of shards."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.bytes = 0
        self._tenant_shards: dict[str, TenantShard] = {}

    @property
    def since(self) -> float:
        """When the first of the requests came."""
        return min(request.since for request in self.requests)

    def has_room(self, request: Request, max_bytes: int) -> bool:
        """Whether a request may join: one of any size, where it is the first."""
        return not self.requests or self.bytes + request.size <= max_bytes

    def add(self, request: Request) -> None:
        """Take a request in."""
        self.requests.append(request)
        self.bytes += request.size

    def batches(self, max_events: int) -> Iterator[Batch]:
        """Pack the events of each place, no more than ``max_events`` and ``BATCH_BYTES`` to a batch."""
        by_tenant_shard: defaultdict[TenantShard, list[Event]] = defaultdict(list)
        for request in self.requests:
            for tenant_shard, events in request.events.items():
                by_tenant_shard[tenant_shard] += events
        for tenant_shard, events in by_tenant_shard.items():
            for part in _cut(events, max_events):
                batch = Batch(tenant_shard[1], uuid4().hex, pack_batch(part), tenant_shard[0], self.requests[0].shards)
                self._tenant_shards[batch.batch_id] = tenant_shard
                yield batch

    def resolve(self, failure: RetryableError | None, refused: Iterable[tuple[Batch, Bound]]) -> list[JournalFullError]:
        """Wake the callers with one hop to each event loop. A refused batch fails only those with events of its place.

        Returns what those were told.
        """
        bounds = {self._tenant_shards[batch.batch_id]: bound for batch, bound in refused}
        fates = [(request, _failure_of(request, failure, bounds)) for request in self.requests]
        _tell(fates)
        return [fate for _, fate in fates if isinstance(fate, JournalFullError)]

    def give_up(self, reason: str) -> None:
        """Ask the callers that have no answer yet for another try."""
        give_up(self.requests, reason)


def give_up(requests: Iterable[Request], reason: str) -> None:
    """Ask the callers that have no answer yet for another try."""
    _tell([(request, StateUnavailableError(reason)) for request in requests])


def _cut(events: Sequence[Event], max_events: int) -> Iterator[Sequence[Event]]:
    start = size = 0
    for index, event in enumerate(events):
        if index > start and (index - start >= max_events or size + len(event.payload) > BATCH_BYTES):
            yield events[start:index]
            start, size = index, 0
        size += len(event.payload)
    yield events[start:]


def _tell(fates: Iterable[_Fate]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Fate]] = defaultdict(list)
    for request, fate in fates:
        by_loop[request.loop].append((request, fate))
    for loop, told in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_results, told)
        except RuntimeError:  # the loop was closed while its callers waited: none is left
            log.warning("commit_outlived_its_loop", waiters=len(told))


def _failure_of(
    request: Request, failure: RetryableError | None, bounds: Mapping[TenantShard, Bound]
) -> RetryableError | None:
    """Each caller raises an error of its own: a shared one would gather the tracebacks of all of them."""
    if failure is not None:
        own = type(failure)(*failure.args)
        own.__cause__ = failure
        return own
    full = {tenant_shard[1]: bounds[tenant_shard] for tenant_shard in request.events if tenant_shard in bounds}
    if Bound.NEW_USERS in full.values():
        return QuotaExceededError(Bound.NEW_USERS.explanation, NEW_USERS_RETRY_S)
    return JournalFullError(full) if full else None


def _set_results(fates: list[_Fate]) -> None:
    for request, fate in fates:
        if not request.answer.done():  # a caller that went away has cancelled it
            request.answer.set_result(fate)
