"""The load of a chaos run can be held without losing a request."""

import asyncio
from array import array

from tools.chaos.load import HeldTarget
from tools.loadtest.requests import Request
from tools.loadtest.targets import Outcome

FIRST, SECOND = (Request("/", body, array("L", [0])) for body in (b"first", b"second"))


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
            first = asyncio.create_task(target.send(FIRST))
            await asyncio.sleep(0)
            target.held = True
            second = asyncio.create_task(target.send(SECOND))
            await asyncio.sleep(0)
            assert (recorder.sent, target.under_way) == ([FIRST], 1)
            recorder.answer.set()
            await first
            assert target.under_way == 0
            assert recorder.sent == [FIRST]
            target.held = False
            await second
            assert recorder.sent == [FIRST, SECOND]

    asyncio.run(go())
