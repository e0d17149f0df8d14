"""Connections to the state Redis; its errors become ours here."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,  # noqa: A004 - redis-py's own name
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's own name
)
from redis.retry import Retry

from models.errors import ForeignKeyError, StateUnavailableError
from models.state.server.servers import RedisServer

SOCKET_TIMEOUT = 5.0

_NOT_NOW = frozenset(
    {
        "LOADING",
        "BUSY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "MISCONF",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "NOAUTH",
        "WRONGPASS",
        "NOPERM",
        "CLOCKWRONG",  # of our own scripts: a record is from the future
        "FOREIGNKEY",  # a key of a shard holds another application's value, until an operator moves it
        "WRONGTYPE",  # likewise
        "SHARDCLOSED",  # the shard is being reset
    }
)
"""Codes of answers that refuse any command, or any write, whatever is in it: the server has something else to do, no
room (MISCONF: its disk takes no append-only file), no replica, or another password."""
_OF_USER = "FOREIGNUSERKEY "
"""The code of our own scripts for a key of one user that holds something else."""
_OF_PIPELINE = "of pipeline caused error: "


def connect_state(url: str, *, socket_timeout: float = SOCKET_TIMEOUT) -> Redis:
    """A client for the state Redis; opens nothing until it is used.

    redis-py would repeat a script whose reply timed out up to ten times. Ours never repeats by itself: scripts are
    safe to repeat, but a caller must know that a call failed.
    """
    pool = RedisServer(url).pool(
        socket_timeout=socket_timeout,
        socket_connect_timeout=socket_timeout,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
    )
    return Redis.from_pool(pool)


@contextmanager
def state_errors() -> Iterator[None]:
    """Turn the driver's passing faults into ``StateUnavailableError``; a fault of ours stays what it is."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise StateUnavailableError(f"the state Redis did not answer: {error}") from error
    except ResponseError as error:
        if str(error).startswith(_OF_USER):
            raise ForeignKeyError(str(error).removeprefix(_OF_USER)) from error
        if not refuses_now(error):
            raise
        raise StateUnavailableError(f"the state Redis refuses commands: {error}") from error


def refuses_now(error: ResponseError) -> bool:
    """Whether the server refused for a reason of its own, so that the same command may pass later."""
    # redis-py cuts the codes that it knows off the text, and puts words of its own before it in a pipeline.
    text = str(error).rpartition(_OF_PIPELINE)[2]
    return (error.status_code or text.partition(" ")[0]) in _NOT_NOW


def is_of_other_type(error: object) -> bool:
    """Whether a command was refused because its key holds a value of another type."""
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


def with_none_for_other_types(replies: Sequence[Any]) -> list[Any]:
    """The replies of a pipeline that raised nothing; None where a key holds a value of another type.

    Raises:
        RedisError: the first other refusal among them.
    """
    for reply in replies:
        if isinstance(reply, Exception) and not is_of_other_type(reply):
            raise reply
    return [None if is_of_other_type(reply) else reply for reply in replies]
