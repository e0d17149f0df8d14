"""The order and the errors of group commit. Journal and broker are the two callables that are handed in."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from threading import Event as Flag
from time import monotonic
from typing import Any

import pytest
from redis import Redis

from config.shards import shard_for
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from models.errors import (
    Bound,
    JournalFullError,
    NotReadyError,
    QuotaExceededError,
    StateUnavailableError,
)
from models.events import Event, unpack_batch
from models.state.metrics import Metrics
from models.state.queue.batches import Appended, Batch

pytestmark = pytest.mark.anyio
SHARDS = 4
NOW = 1_762_770_600_000_000


def event(number: int, user: str = "ada", payload: bytes = b"") -> Event:
    return Event(f"e{number}", "login", "default", user, NOW, NOW, payload=payload)


class Outlets:
    """What appends, the record of its calls, and the errors it is to raise."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.append_error: Exception | None = None
        self.full: dict[int, Bound] = {}
        self.unconfirmed = ""
        self.append_gate, self.appending = Flag(), Flag()
        self.append_gate.set()

    def append(self, batches: Sequence[Batch], now_ms: int) -> Appended:
        self.calls.append(("append", list(batches), now_ms))
        self.appending.set()
        assert self.append_gate.wait(10)
        if self.append_error:
            raise self.append_error
        refused = [(batch, self.full[batch.shard]) for batch in batches if batch.shard in self.full]
        accepted = [batch for batch in batches if batch.shard not in self.full]
        return Appended(accepted, refused, unconfirmed=self.unconfirmed)

    def steps(self) -> list[str]:
        return [call[0] for call in self.calls]

    def events(self, number: int = 0) -> list[Event]:
        """The events of the given append."""
        batches = [call[1] for call in self.calls if call[0] == "append"][number]
        return [one for batch in batches for one in unpack_batch(batch.packed)]


@pytest.fixture
def outlets():
    return Outlets()


@pytest.fixture
def metrics():
    return Metrics(Redis())


@pytest.fixture
def make(outlets, metrics):
    made = []

    def _make(linger=timedelta(milliseconds=20), max_events=250, **limits):
        committer = GroupCommitter(
            outlets.append,
            metrics,
            CommitLimits(SHARDS, linger, max_events, **limits),
            clock=lambda: NOW,
        )
        committer.start()
        made.append(committer)
        return committer

    yield _make
    for committer in made:
        committer.close()


async def test_callers_that_arrive_together_share_one_write(make, outlets):
    committer = make(linger=timedelta(milliseconds=300), max_requests=100)
    await asyncio.gather(*(committer.commit([event(n, f"user-{n}")]) for n in range(40)))
    await asyncio.to_thread(committer.close)
    assert outlets.steps() == ["append"]
    assert outlets.calls[0][2] == NOW // 1000
    assert len(outlets.events()) == 40


async def test_batches_hold_one_shard_each_and_no_more_than_the_bound(make, outlets):
    committer = make(max_events=10)
    events = [event(n, f"user-{n % 7}") for n in range(95)]
    await committer.commit(events)
    batches = outlets.calls[0][1]
    assert len({batch.batch_id for batch in batches}) == len(batches)
    for batch in batches:
        unpacked = unpack_batch(batch.packed)
        assert 0 < len(unpacked) <= 10
        assert {shard_for(one.tenant_id, one.user_id, SHARDS) for one in unpacked} == {batch.shard}
    assert sorted(outlets.events()) == sorted(events)


async def test_a_full_shard_does_not_linger(make, outlets):
    committer = make(linger=timedelta(hours=1), max_events=3)
    started = monotonic()
    await asyncio.gather(*(committer.commit([event(n)]) for n in range(3)))
    assert monotonic() - started < 5
    assert len(outlets.events()) == 3


async def test_while_a_group_is_written_the_next_one_gathers(make, outlets):
    committer = make(linger=timedelta(microseconds=1))
    outlets.append_gate.clear()
    first = asyncio.create_task(committer.commit([event(0)]))
    await asyncio.to_thread(outlets.appending.wait, 5)
    others = [asyncio.create_task(committer.commit([event(n)])) for n in range(1, 30)]
    await asyncio.sleep(0)
    assert not first.done()
    outlets.append_gate.set()
    await asyncio.gather(first, *others)
    assert [len(outlets.events(0)), len(outlets.events(1))] == [1, 29]


async def test_a_failed_write_reaches_every_caller_of_the_group(make, outlets):
    committer = make()
    outlets.append_error = StateUnavailableError("not now")
    results = await asyncio.gather(*(committer.commit([event(n)]) for n in range(5)), return_exceptions=True)
    assert [(type(result), str(result)) for result in results] == [(StateUnavailableError, "not now")] * 5
    assert len({id(result) for result in results}) == 5
    assert outlets.steps() == ["append"]
    outlets.append_error = None
    await committer.commit([event(9)])


async def test_what_replicas_do_not_confirm_is_sent_again_by_callers(make, outlets):
    committer = make()
    outlets.unconfirmed = "0 of 1 replicas have the events"
    with pytest.raises(StateUnavailableError, match="0 of 1 replicas"):
        await committer.commit([event(1)])
    outlets.unconfirmed = ""
    await committer.commit([event(1)])


async def test_an_unforeseen_error_asks_for_another_try_and_the_thread_lives_on(make, outlets):
    committer = make()
    outlets.append_error = ZeroDivisionError("a bug")
    with pytest.raises(StateUnavailableError, match="a bug"):
        await committer.commit([event(1)])
    outlets.append_error = None
    await committer.commit([event(2)])


@pytest.mark.parametrize("broken", ["observe", "count"])
async def test_metrics_that_break_end_neither_the_thread_nor_the_wait_of_callers(
    make, outlets, metrics, monkeypatch, broken
):
    def breaks(*_args: Any, **_more: Any) -> None:
        raise ZeroDivisionError("a bug")

    committer = make()
    with monkeypatch.context() as patched:
        patched.setattr(metrics, broken, breaks)
        async with asyncio.timeout(5):
            await asyncio.gather(committer.commit([event(1)]), return_exceptions=True)
    async with asyncio.timeout(5):
        await committer.commit([event(2)])
    committer.check()


async def test_callers_whose_answer_breaks_are_asked_for_another_try(make, outlets, monkeypatch):
    def breaks(*_args: Any) -> None:
        raise ZeroDivisionError("a bug")

    committer = make(max_held_bytes=10_000)
    with monkeypatch.context() as patched:
        patched.setattr("ingest.group._failure_of", breaks)
        async with asyncio.timeout(5):
            with pytest.raises(StateUnavailableError, match="a bug"):
                await committer.commit([event(1, payload=b"x" * 9_000)])
    async with asyncio.timeout(5):
        await committer.commit([event(2, payload=b"x" * 9_000)])


async def test_a_committer_whose_thread_ended_says_so_and_refuses_at_once(make, outlets, monkeypatch):
    committer = make()
    committer.check()

    def breaks() -> None:
        with committer._changed:
            assert committer._changed.wait_for(lambda: committer._gathering, 10)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(committer, "_next_group", breaks)
    await committer.commit([event(0)])  # the wait for this group had begun before
    async with asyncio.timeout(5):
        with pytest.raises(StateUnavailableError):
            await committer.commit([event(1)])
    await asyncio.to_thread(committer._thread.join, 5)
    with pytest.raises(NotReadyError, match="ended"):
        committer.check()
    async with asyncio.timeout(5):
        with pytest.raises(StateUnavailableError):
            await committer.commit([event(2)])


async def test_past_the_memory_bound_callers_are_refused_at_once_and_taken_again_later(make, outlets):
    committer = make(max_held_bytes=10_000)
    outlets.append_gate.clear()
    held = asyncio.create_task(committer.commit([event(1, payload=b"x" * 9_000)]))
    await asyncio.to_thread(outlets.appending.wait, 5)
    with pytest.raises(JournalFullError):
        await committer.commit([event(2, payload=b"x" * 500)])
    outlets.append_gate.set()
    await held
    async with asyncio.timeout(5):
        while True:
            try:
                return await committer.commit([event(3, payload=b"x" * 500)])
            except JournalFullError:
                await asyncio.sleep(0)


async def test_one_request_larger_than_the_bound_is_taken_when_nothing_else_waits(make, outlets):
    await make(max_held_bytes=10).commit([event(1)])
    assert len(outlets.events()) == 1


async def test_closing_writes_what_is_held_without_lingering(make, outlets):
    committer = make(linger=timedelta(hours=1))
    waiting = asyncio.create_task(committer.commit([event(1)]))
    await asyncio.sleep(0)
    await asyncio.to_thread(committer.close)
    await waiting
    assert outlets.steps() == ["append"]
    with pytest.raises(StateUnavailableError, match="stopping"):
        await committer.commit([event(2)])


async def test_a_caller_that_goes_away_harms_nobody(make, outlets):
    committer = make(linger=timedelta(milliseconds=50))
    leaving = asyncio.create_task(committer.commit([event(1)]))
    grandfathered_versions = asyncio.create_task(committer.commit([event(2)]))
    await asyncio.sleep(0)
    leaving.cancel()
    await grandfathered_versions
    assert len(outlets.events()) == 2


async def test_no_events_are_no_work(make, outlets):
    await make().commit([])
    assert outlets.calls == []


async def test_every_write_is_timed(make, metrics):
    await make().commit([event(1)])
    assert metrics._pending["questline_commit_seconds|count"] == 1


async def test_a_full_shard_fails_only_the_callers_with_events_of_it(make, outlets):
    users = {shard_for("default", f"user-{n}", SHARDS): f"user-{n}" for n in range(200)}
    full, free = list(users)[:2]
    outlets.full = {full: Bound.AGE}
    committer = make(linger=timedelta(milliseconds=300))
    fates = await asyncio.gather(
        committer.commit([event(1, users[full])]),
        committer.commit([event(2, users[free])]),
        committer.commit([event(3, users[free]), event(4, users[full])]),
        return_exceptions=True,
    )
    assert [type(fate) for fate in fates] == [JournalFullError, type(None), JournalFullError]


async def test_past_the_quota_of_new_users_the_callers_are_told_to_come_again_in_a_minute(make, outlets):
    full = shard_for("default", "ada", SHARDS)
    outlets.full = {full: Bound.NEW_USERS}
    with pytest.raises(QuotaExceededError, match="NEW_USERS_PER_HOUR") as refused:
        await make().commit([event(1)])
    assert refused.value.retry_after == 60


async def test_a_batch_says_whose_events_it_holds(make, outlets):
    await make().commit([event(1), event(2)._replace(tenant_id="other")])
    assert {batch.tenant_id for _, batches, _ in outlets.calls[:1] for batch in batches} == {"default", "other"}


async def test_what_waits_for_a_write_goes_by_turns_and_a_small_request_waits_for_no_large_one_beside_it(make, outlets):
    """Three large requests of one tenant wait while the first is written; then a small one of another comes."""
    committer = make(linger=timedelta(), max_group_bytes=10_000)
    outlets.append_gate.clear()
    loud = [
        asyncio.create_task(committer.commit([event(n, payload=b"x" * 9_000)._replace(tenant_id="loud")]))
        for n in range(4)
    ]
    await asyncio.to_thread(outlets.appending.wait, 10)
    quiet = asyncio.create_task(committer.commit([event(9)._replace(tenant_id="quiet")]))
    await asyncio.sleep(0)
    outlets.append_gate.set()
    await asyncio.gather(quiet, *loud)
    appends = [call[1] for call in outlets.calls if call[0] == "append"]
    tenants = [[unpack_batch(batch.packed)[0].tenant_id for batch in batches] for batches in appends]
    assert tenants == [["loud"], ["quiet"], ["loud"], ["loud"], ["loud"]]


async def test_one_tenants_events_that_wait_leave_memory_for_those_of_others(make, outlets):
    committer = make(max_held_bytes=10_000)
    outlets.append_gate.clear()
    held = [
        asyncio.create_task(committer.commit([event(n, payload=b"x" * 1_000)._replace(tenant_id="loud")]))
        for n in range(5)
    ]
    await asyncio.to_thread(outlets.appending.wait, 10)
    with pytest.raises(JournalFullError) as refused:
        await committer.commit([event(8, payload=b"x" * 1_000)._replace(tenant_id="loud")])
    assert refused.value.bounds == (Bound.TENANT_MEMORY,)
    held.append(asyncio.create_task(committer.commit([event(9)._replace(tenant_id="quiet")])))
    await asyncio.sleep(0)
    outlets.append_gate.set()
    await asyncio.gather(*held)


async def test_many_requests_wait_for_no_further_company(make, outlets):
    committer = make(linger=timedelta(minutes=1), max_requests=8)
    async with asyncio.timeout(5):
        await asyncio.gather(*(committer.commit([event(n, f"user-{n}")]) for n in range(8)))
    assert len(outlets.events()) == 8


async def test_another_number_of_shards_asks_those_who_wait_for_another_try(make, outlets):
    outlets.append_gate.clear()
    committer = make()
    writing = asyncio.ensure_future(committer.commit([event(1)]))
    await asyncio.to_thread(outlets.appending.wait, 10)
    waiting = asyncio.ensure_future(committer.commit([event(2)]))
    await asyncio.sleep(0)
    committer.resize(7)
    with pytest.raises(StateUnavailableError, match="number of shards"):
        await waiting
    outlets.append_gate.set()
    await writing  # the journal itself says whether it takes them by the old number
    await committer.commit([event(3)])
    appended = [batch for call in outlets.calls if call[0] == "append" for batch in call[1]]
    assert [batch.shards for batch in appended] == [SHARDS, 7]
    assert appended[-1].shard == shard_for("default", "ada", 7)
