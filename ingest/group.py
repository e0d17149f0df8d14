"""A group of requests on its way to the journal: what they brought, cut into batches, and who waits for them.

In come events by shard; out go packed batches and, when their fate is known, the callers. It holds no lock:
the committer fills a group under its own, and is alone with it afterwards.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

import structlog

from models.errors import JournalFullError, RetryableError, StateUnavailableError
from models.events import Event, pack_batch
from models.hot.batches import Batch

EVENT_BYTES = 512
"""About what an event takes in memory without its payload: ten objects and their texts."""

log = structlog.get_logger()


class CommitLimits(NamedTuple):
    """How events are grouped: the shards, how long a first event waits, how large a batch grows."""

    shards: int
    linger: timedelta
    max_events: int
    max_held_bytes: int = 64 * 1024 * 1024
    """About how much memory the events may take that wait for the journal."""


class Waiter(NamedTuple):
    """A caller, and the shards that its events belong to."""

    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[RetryableError | None]
    shards: set[int]


_Fate = tuple[Waiter, RetryableError | None]


class Group:
    """What is written together: events by shard, and the callers that wait for them."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.by_shard: defaultdict[int, list[Event]] = defaultdict(list)
        self.waiters: list[Waiter] = []
        self.bytes = 0
        self.full = False

    def batches(self, max_events: int) -> Iterator[Batch]:
        """Pack the events of each shard, no more than ``max_events`` to a batch."""
        for shard, events in self.by_shard.items():
            for start in range(0, len(events), max_events):
                part = events[start : start + max_events]
                yield Batch(shard, uuid4().hex, pack_batch(part))

    def resolve(self, failure: RetryableError | None) -> list[JournalFullError]:
        """Wake the callers with one hop to each event loop. A full shard fails only those with events of it.

        Returns what those were told whose events belong to a full shard.
        """
        fates = [(waiter, _failure_of(waiter, failure)) for waiter in self.waiters]
        _tell(fates)
        return [fate for _, fate in fates if isinstance(fate, JournalFullError)]

    def give_up(self, reason: str) -> None:
        """Ask the callers that have no answer yet for another try."""
        _tell([(waiter, StateUnavailableError(reason)) for waiter in self.waiters])


def _tell(fates: Iterable[_Fate]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Fate]] = defaultdict(list)
    for waiter, fate in fates:
        by_loop[waiter.loop].append((waiter, fate))
    for loop, told in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_results, told)
        except RuntimeError:  # the loop was closed while its callers waited: nobody is left to tell
            log.warning("commit_outlived_its_loop", waiters=len(told))


def _failure_of(waiter: Waiter, failure: RetryableError | None) -> RetryableError | None:
    """Each caller raises an error of its own: a shared one would gather the tracebacks of all of them."""
    if isinstance(failure, JournalFullError):
        return failure.of(waiter.shards)
    if failure is None:
        return None
    own = type(failure)(*failure.args)
    own.__cause__ = failure
    return own


def _set_results(fates: list[_Fate]) -> None:
    for waiter, fate in fates:
        if not waiter.answer.done():  # a caller that went away has cancelled it
            waiter.answer.set_result(fate)
