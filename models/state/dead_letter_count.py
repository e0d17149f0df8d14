"""The number of dead letters for metrics: a hash replaced as a whole."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis import Redis

from models.state.keys import DEAD_DEPTH

_COUNTED_AT = "counted_at"


class Depth(NamedTuple):
    """How many dead letters there were at a time."""

    counted_at: int
    """Microseconds since the epoch; 0 where they were never counted."""
    dead_letters: Mapping[tuple[str, str], int]
    """By kind and reason."""


def write_depth(redis: Redis, dead_letters: Mapping[tuple[str, str], int], *, now_us: int) -> None:
    """Put these numbers instead of all that were there; neither kinds nor reasons hold a '|'."""
    fields: dict[Any, Any] = {f"{kind}|{reason}": number for (kind, reason), number in dead_letters.items()}
    with redis.pipeline(transaction=True) as pipeline:
        pipeline.delete(DEAD_DEPTH)
        pipeline.hset(DEAD_DEPTH, mapping=fields | {_COUNTED_AT: now_us})
        pipeline.execute()


def read_depth(redis: Redis) -> Depth:
    """The numbers of the last count."""
    found: Any = redis.hgetall(DEAD_DEPTH)
    fields = {name.decode(): int(value) for name, value in found.items()}
    counted_at = fields.pop(_COUNTED_AT, 0)
    return Depth(counted_at, {_cause(name): number for name, number in fields.items()})


def _cause(field: str) -> tuple[str, str]:
    kind, _, reason = field.partition("|")
    return kind, reason
