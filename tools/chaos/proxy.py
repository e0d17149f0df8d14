"""A TCP proxy that can cut a connection in the middle of a reply."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any

from cli.client.ports import LOOPBACK

_CHUNK = 64 * 1024


class CuttingProxy:
    """Stands before a server on the loopback interface, with a thread and an event loop of its own."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="cutting-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._to_cut = 0
        self._after = 0
        self.port = 0
        """Where it listens; 0 until it is started."""
        self.cuts = 0
        """How many replies were cut so far."""

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        self._ask(self._open())

    def cut(self, replies: int, *, after: int) -> None:
        """Of the next replies, pass on ``after`` bytes, at least one less than all, and reset both connections."""
        self._after = after
        self._to_cut = replies

    def point_at(self, port: int) -> None:
        """Stand before another server from now on, and reset the connections to the one before."""
        self._target_port = port
        self._ask(self._reset())

    def close(self) -> None:
        """Reset every connection and end the thread; safe to call twice."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._ask(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def _ask(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._reset()

    async def _reset(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a callback of start_server is a task
        self._pumps.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._join(reader, writer)
        finally:
            writer.transport.abort()
            self._pumps.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until either side ends."""
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target_port)
        ways = [
            asyncio.create_task(self._requests(reader, far_writer)),
            asyncio.create_task(self._replies(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            far_writer.write(chunk)
            await far_writer.drain()

    async def _replies(self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await far_reader.read(_CHUNK):
            if self._to_cut:
                self._to_cut -= 1
                self.cuts += 1
                writer.write(chunk[: min(self._after, len(chunk) - 1)])
                with suppress(TimeoutError):  # the caller may not be reading
                    await asyncio.wait_for(writer.drain(), 1)
                return
            writer.write(chunk)
            await writer.drain()
