"""The one way to reach the state Redis, and the one place where its errors enter our tree."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - redis-py's own name
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,  # noqa: A004 - redis-py's own name
)
from redis.retry import Retry

from models.errors import StateUnavailableError

SOCKET_TIMEOUT = 5.0


def connect_state(url: str, *, socket_timeout: float = SOCKET_TIMEOUT) -> Redis:
    """A client for the state Redis; opens nothing until it is used.

    redis-py would repeat a script whose reply timed out up to ten times. Ours never repeats by itself: scripts are
    safe to repeat, but a caller must know that a call failed.
    """
    return Redis.from_url(
        url,
        socket_timeout=socket_timeout,
        socket_connect_timeout=socket_timeout,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )


@contextmanager
def state_errors() -> Iterator[None]:
    """Turn the driver's passing faults into ``StateUnavailableError``; a fault of ours stays what it is."""
    try:
        yield
    except (ConnectionError, TimeoutError, BusyLoadingError, OutOfMemoryError, ReadOnlyError) as error:
        raise StateUnavailableError(f"the state Redis did not answer: {error}") from error
