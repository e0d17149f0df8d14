"""Whether the state Redis takes writes. No text holds an address or a password."""

from typing import Any

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from models.errors import AWAY, NotReadyError
from models.state.checks.key_types import foreign_keys_of_state
from models.state.connection import state_errors
from models.state.keys import PROBE
from models.state.server.servers import UnfitServerError
from models.state.server.tls_faults import tls_fault

_PROBE_SECONDS = 60
_NAMED = 3
"""How many foreign keys are named."""
_REPLICA_MS = 500
"""How long replicas may take to say how far they are."""


def write_probe(redis: Redis) -> None:
    """Write one small key: a Redis that answers but takes no writes is of no use.

    Raises:
        NotReadyError: it does not answer, or refuses.
    """
    try:
        redis.set(PROBE, "1", ex=_PROBE_SECONDS)
    except RedisError as error:
        raise NotReadyError(_redis_fault(error)) from error


def own_keys(redis: Redis, shards: int) -> None:
    """Whether every key of a shard holds what we wrote.

    Raises:
        StateUnavailableError: Redis does not answer.
        NotReadyError: another application wrote there; the text names the keys.
    """
    found = foreign_keys_of_state(redis, shards)
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise NotReadyError(f"not ours: {'; '.join(map(str, found[:_NAMED]))}{more}")


def replica_probe(redis: Redis, wanted: int) -> None:
    """Count the replicas that are in step.

    Raises:
        StateUnavailableError: the server does not answer.
        NotReadyError: there are too few.
    """
    with state_errors():
        found: Any = redis.wait(wanted, _REPLICA_MS)
    if found < wanted:
        raise NotReadyError(f"the state Redis has {found} of the {wanted} that JOURNAL_REPLICAS asks for")


def _redis_fault(error: RedisError) -> str:
    if isinstance(error, UnfitServerError | MasterNotFoundError):
        return str(error)
    if (fault := tls_fault(error)) is not None:
        return fault
    for kind, text in (
        (AuthenticationError, "refuses our password"),
        (BusyLoadingError, "is loading its data"),
        (OutOfMemoryError, "takes no writes: it is at its maxmemory"),
        (ReadOnlyError, "takes no writes: it is a replica"),
        ((RedisConnectionError, RedisTimeoutError), AWAY),
    ):
        if isinstance(error, kind):
            return text
    return _refusal(str(error)) if isinstance(error, ResponseError) else AWAY


def _refusal(text: str) -> str:
    for code, meaning in (
        ("MISCONF", "it cannot save to its disk"),
        ("NOREPLICAS", "it has too few replicas"),
        ("NOPERM", "our user may not write"),
    ):
        if text.startswith(code):
            return f"takes no writes: {meaning}"
    return "refuses our password" if text.startswith(("NOAUTH", "WRONGPASS")) else "takes no writes"
