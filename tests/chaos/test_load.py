"""The load of a chaos run can be held without losing a request."""

import asyncio

from worker.chaos.load import HeldTarget
from worker.load.targets import Outcome


class Recorder:
    """A target that answers when it is told to."""

    def __init__(self):
        self.sent = []
        self.answer = asyncio.Event()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *what):
        pass

    async def send(self, request):
        self.sent.append(request)
        await self.answer.wait()
        return Outcome({})


def test_a_held_target_lets_end_what_is_under_way_and_starts_nothing():
    async def go():
        recorder = Recorder()
        async with HeldTarget(recorder) as target:
            first = asyncio.create_task(target.send("first"))
            await asyncio.sleep(0)
            target.held = True
            second = asyncio.create_task(target.send("second"))
            await asyncio.sleep(0)
            assert (recorder.sent, target.under_way) == (["first"], 1)
            recorder.answer.set()
            await first
            assert target.under_way == 0
            assert recorder.sent == ["first"]
            target.held = False
            await second
            assert recorder.sent == ["first", "second"]

    asyncio.run(go())
