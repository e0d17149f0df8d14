"""Threads for requests that need PostgreSQL, apart from all others.

While PostgreSQL stands still, each call to it blocks a thread. So only a few requests may call it at a time, on
threads of their own; others queue without a thread, and only for a bounded time. Reads of Redis use other threads.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from models.errors import DatabaseUnavailableError
from models.fairness import Turns

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThreads:
    """A few threads, of one event loop."""

    def __init__(self, threads: int = 8, patience_s: float = 2.0) -> None:
        """``threads``: as many as the engine has connections. ``patience_s``: how long a request waits for a turn."""
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")
        self._turns = Turns(threads)
        self._patience_s = patience_s

    async def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call of an operator, which counts for no tenant, on one of the threads.

        Raises:
            DatabaseUnavailableError: too many calls wait for PostgreSQL.
        """
        return await self.of("", partial(call, *args, **kwargs))

    async def of(self, tenant_id: str, call: Callable[[], T]) -> T:
        """The same for a request of a tenant; tenants that wait take turns.

        Raises:
            DatabaseUnavailableError: too many calls wait for PostgreSQL.
        """
        try:
            await asyncio.wait_for(self._turns.take(tenant_id), self._patience_s)
        except TimeoutError:
            raise DatabaseUnavailableError("too many requests wait for PostgreSQL") from None
        # The turn ends with the thread's work, even if the request has ended before.
        work = asyncio.get_running_loop().run_in_executor(self._threads, call)
        work.add_done_callback(partial(self._end_turn, tenant_id))
        return await asyncio.shield(work)

    def _end_turn(self, tenant_id: str, work: "asyncio.Future[T]") -> None:
        self._turns.give_back(tenant_id)
        if not work.cancelled():
            work.exception()  # retrieved, or asyncio would report it where the request has ended
