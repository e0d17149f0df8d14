"""Ends connections whose clients do not read their answers."""

import asyncio

LEAST_BYTES = 4 * 1024
"""What a client must read within the patience; less is as good as nothing."""


class ReaderWatch:
    """Watches one connection, from when its answers no longer fit into the system's buffers until they do."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, patience_s: float) -> None:
        self._transport = transport
        self._loop = loop
        self._patience_s = patience_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The client is behind."""
        left = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(self._patience_s, self._poll, left)

    def stop(self) -> None:
        """It has caught up, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _poll(self, left_before: int) -> None:
        if self._transport.get_write_buffer_size() > left_before - LEAST_BYTES:
            self._transport.abort()
        else:
            self.start()
