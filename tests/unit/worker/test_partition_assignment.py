"""How workers share the shards when they come, go and die: every shard ends with exactly one of them."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models.errors import StateUnavailableError
from worker.partition_assignment import ShareHolder, candidates, fair_share

TTL = timedelta(seconds=10)
COUNTS = st.integers(1, 40)


@given(workers=COUNTS, shards=COUNTS)
def test_the_shares_are_equal_but_for_one_and_add_up_to_all_shards(workers, shards):
    shares = [fair_share(rank, workers, shards) for rank in range(workers)]
    assert sum(shares) == shards
    assert max(shares) - min(shares) <= 1


@given(workers=COUNTS, shards=COUNTS, data=st.data())
def test_one_worker_more_or_less_moves_no_shard_between_the_others(workers, shards, data):
    before = [fair_share(rank, workers, shards) for rank in range(workers)]
    joined = [fair_share(rank, workers + 1, shards) for rank in range(workers)]
    assert all(new <= old for new, old in zip(joined, before, strict=True))
    gone = data.draw(st.integers(0, workers - 1))
    stayed = [share for rank, share in enumerate(before) if rank != gone]
    left = [fair_share(rank, workers - 1, shards) for rank in range(workers - 1)]
    assert all(new >= old for new, old in zip(left, stayed, strict=True))


@given(workers=COUNTS, free=st.lists(st.integers(0, 39), unique=True), rank=st.integers(0, 39))
def test_every_free_shard_is_tried(workers, free, rank):
    assert sorted(candidates(free, rank % workers, workers)) == sorted(free)


@dataclass
class Board:
    """What Redis would hold, for all workers of a test."""

    shards: int
    owner: dict[int, str] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    away: bool = False


class Leases:
    """One worker's view of the board."""

    def __init__(self, board: Board, worker: str) -> None:
        self.board, self.worker = board, worker

    def _ask(self) -> Board:
        if self.board.away:
            raise StateUnavailableError("away")
        return self.board

    def join(self):
        self._ask().alive.add(self.worker)
        return sorted(self.board.alive)

    def leave(self):
        self._ask().alive.discard(self.worker)

    def hold(self, shards):
        return {shard for shard in shards if self._ask().owner.setdefault(shard, self.worker) == self.worker}

    def release(self, shards):
        mine = {shard for shard in shards if self._ask().owner.get(shard) == self.worker}
        for shard in mine:
            del self.board.owner[shard]
        return mine

    def free(self):
        return [shard for shard in range(self._ask().shards) if self.board.owner.get(shard) in {None, self.worker}]


class Worker:
    """A holder, and what it really consumes."""

    def __init__(self, board: Board, name: str) -> None:
        self.name = name
        self.consumed: set[int] = set()
        self.now = 0.0
        self.holder = ShareHolder(
            Leases(board, name),  # type: ignore[arg-type]  # the same methods, without Redis
            name,
            shards=board.shards,
            ttl=TTL,
            begin=self.consumed.add,
            end=self.consumed.discard,
            monotonic=lambda: self.now,
        )


class Fleet(RuleBasedStateMachine):
    """Workers in any order of coming, going, dying and being slow."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(shards=7)
        self.workers: list[Worker] = []
        self.started = 0

    @rule()
    def come(self):
        self.started += 1
        self.workers.append(Worker(self.board, f"{self.started:04d}"))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def tick(self, data):
        data.draw(st.sampled_from(self.workers)).holder.tick()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def go(self, data):
        gone = data.draw(st.sampled_from(self.workers))
        self.workers.remove(gone)
        gone.holder.leave()
        assert gone.consumed == set()
        assert gone.name not in {*self.board.owner.values(), *self.board.alive}

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def die_and_expire(self, data):
        dead = data.draw(st.sampled_from(self.workers))
        self.workers.remove(dead)
        self._expire(dead.name)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def hang_until_all_has_expired(self, data):
        self._expire(data.draw(st.sampled_from(self.workers)).name)

    def _expire(self, name):
        self.board.alive.discard(name)
        self.board.owner = {shard: owner for shard, owner in self.board.owner.items() if owner != name}

    @invariant()
    def a_worker_consumes_what_it_believes_to_hold(self):
        for worker in self.workers:
            assert worker.consumed == worker.holder.held

    @precondition(lambda self: self.workers)
    @rule()
    def settle(self):
        for _ in range(3):
            for worker in self.workers:
                worker.holder.tick()
        assert sorted(shard for worker in self.workers for shard in worker.consumed) == list(range(7))
        sizes = [len(worker.consumed) for worker in self.workers]
        assert max(sizes) - min(sizes) <= 1
        assert {shard: worker.name for worker in self.workers for shard in worker.consumed} == self.board.owner


TestFleet = Fleet.TestCase


def test_a_newcomer_gets_its_share_and_nobody_else_gets_anything():
    board = Board(shards=16)
    old = [Worker(board, "1"), Worker(board, "2")]
    for worker in [*old, *old, *old]:
        worker.holder.tick()
    before = [set(worker.consumed) for worker in old]
    newcomer = Worker(board, "3")
    for worker in [newcomer, *old, newcomer]:
        worker.holder.tick()
    assert [worker.consumed < held for worker, held in zip(old, before, strict=True)] == [True, True]
    assert len(newcomer.consumed) == 5


def test_a_worker_too_many_waits_and_steps_in():
    board = Board(shards=2)
    workers = [Worker(board, name) for name in "123"]
    for worker in workers * 3:
        worker.holder.tick()
    assert [len(worker.consumed) for worker in workers] == [1, 1, 0]
    workers[0].holder.leave()
    workers[2].holder.tick()
    assert len(workers[2].consumed) == 1


def test_a_worker_that_cannot_renew_stops_consuming_when_others_may_have_taken_over():
    board = Board(shards=2)
    worker = Worker(board, "1")
    worker.holder.tick()
    board.away = True
    worker.now = TTL.total_seconds()
    worker.holder.tick()
    assert worker.consumed == {0, 1}
    worker.now += 0.1
    worker.holder.tick()
    assert worker.consumed == set()
    worker.holder.leave()  # as good as it can
    board.away = False
    worker.holder.tick()
    assert worker.consumed == {0, 1}


def test_a_shard_whose_queue_could_not_be_consumed_is_tried_again():
    board, failures = Board(shards=3), [OSError("the broker's connection was cut")]
    worker = Worker(board, "1")

    def begin(shard):
        if failures:
            raise failures.pop()
        worker.consumed.add(shard)

    worker.holder.begin = begin
    with pytest.raises(OSError, match="cut"):
        worker.holder.tick()  # Celery's timer logs it and goes on
    worker.holder.tick()
    assert worker.consumed == worker.holder.held == {0, 1, 2}
