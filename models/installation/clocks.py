"""Whether the clock of this machine is that of the servers.

A receiver judges by its own clock whether an event is too old or from the future, and workers date their work by
theirs. Within the bound no result depends on it: the bound is far below the margin of a day that ids are kept longer.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import Any

from redis import Redis
from sqlalchemy import Engine

from models.database.connection import database_errors
from models.errors import ConfigurationError, DatabaseUnavailableError, StateUnavailableError
from models.rules.calendar import microseconds
from models.state.connection import state_errors

MAX_SKEW = timedelta(seconds=60)
"""By how much the clock of a process may differ from that of Redis or PostgreSQL."""


def system_clock_us() -> int:
    """The clock of this machine."""
    return time_ns() // 1000


def check_clocks(redis: Redis, engine: Engine | None, now_us: Callable[[], int] = system_clock_us) -> None:
    """Hold our clock against those of the servers that answer; without an engine, PostgreSQL is not asked.

    Raises:
        ConfigurationError: it differs by more than ``MAX_SKEW``.
    """
    for name, theirs_us, ours_us in readings(redis, engine, now_us):
        if abs(theirs_us - ours_us) > MAX_SKEW // timedelta(microseconds=1):
            raise ConfigurationError(
                f"the clock here says {_shown(ours_us)} and that of {name} {_shown(theirs_us)}: more than "
                f"{MAX_SKEW.total_seconds():.0f} s apart; let every machine follow the same time server (NTP)"
            )


def readings(redis: Redis, engine: Engine | None, now_us: Callable[[], int]) -> Iterator[tuple[str, int, int]]:
    """The clocks of the servers that answer, each with ours at the middle of asking, in µs."""
    with suppress(StateUnavailableError):
        yield "Redis", *_asked(lambda: _redis_clock(redis), now_us)
    if engine is None:
        return
    with suppress(DatabaseUnavailableError), database_errors(), engine.connect() as connection:
        told = lambda: microseconds(connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one())  # noqa: E731
        yield "PostgreSQL", *_asked(told, now_us)


def _asked(clock: Callable[[], int], now_us: Callable[[], int]) -> tuple[int, int]:
    clock()  # the first time may have to connect
    before = now_us()
    theirs = clock()
    return theirs, (before + now_us()) // 2


def _redis_clock(redis: Redis) -> int:
    with state_errors():
        told: Any = redis.time()
    return int(told[0]) * 1_000_000 + int(told[1])


def _shown(timestamp_us: int) -> str:
    return datetime.fromtimestamp(timestamp_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
