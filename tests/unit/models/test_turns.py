"""What is done at once is bounded, each owner has its share of it, and what waits goes round by owners."""

import asyncio

import pytest

from models.fairness import Turns

pytestmark = pytest.mark.anyio


class Work:
    """Pieces of work by owner, each of which ends when it is told to."""

    def __init__(self, indexes: int) -> None:
        self.turns = Turns(indexes)
        self.begun: list[str] = []
        self.ending: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, *names: str) -> None:
        """Start pieces of work, named by owner and a dead letter."""
        for name in names:
            self.ending[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._do(name))
            await asyncio.sleep(0)

    async def _do(self, name: str) -> None:
        async with self.turns.turn(name.partition("-")[0]):
            self.begun.append(name)
            await self.ending[name].wait()

    async def end(self, name: str) -> None:
        self.ending[name].set()
        await self.tasks[name]
        for _ in range(3):
            await asyncio.sleep(0)

    async def end_all(self) -> None:
        for event in self.ending.values():
            event.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


async def test_an_owner_with_many_leaves_places_for_the_others():
    work = Work(10)
    await work.begin(*(f"loud-{n}" for n in range(50)))
    assert len(work.begun) == 8
    await work.begin("quiet-1")
    assert work.begun[-1] == "quiet-1"
    await work.end_all()
    assert len(work.begun) == 51


async def test_what_waits_goes_round_by_owners():
    work = Work(10)
    await work.begin(*(f"{owner}-{n}" for owner in "abc" for n in range(20)))
    first = len(work.begun)
    for name in work.begun[:6]:
        await work.end(name)
    then = [name[0] for name in work.begun[first : first + 6]]
    assert then.count("b") >= 2
    assert then.count("c") >= 2
    await work.end_all()


async def test_who_goes_away_while_waiting_takes_no_place():
    work = Work(2)
    await work.begin("a-0", "b-0", "a-1", "a-2")
    work.tasks["a-1"].cancel()
    for name in [*work.begun]:
        await work.end(name)
    assert "a-1" not in work.begun
    await work.end_all()
    async with asyncio.timeout(1), work.turns.turn("c"):
        pass
    assert work.turns._shares.held == 0


async def test_who_goes_away_with_a_place_just_handed_over_gives_it_back():
    work = Work(1)
    turns = Turns(5)
    hold = [turns.turn("a") for _ in range(4)]
    for one in hold:
        await one.__aenter__()
    waiting = asyncio.create_task(turns.turn("a").__aenter__())
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.give_back("a")  # hands the place to the one that waits
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert turns._shares.held == 3
    assert work.begun == []
