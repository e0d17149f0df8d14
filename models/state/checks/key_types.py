"""The type of each of our keys, and keys that hold another application's value.

A key of a user that holds something else concerns that user alone; it is told where the user's events fail. A key of
a shard, or of the whole product, stops what needs it until the foreign value is moved away.
"""

from collections.abc import Mapping
from typing import NamedTuple

from redis import Redis

from models.state.connection import state_errors, with_none_for_other_types
from models.state.keys import (
    API_KEYS,
    BEAT_LEASE,
    DEAD_DEPTH,
    FLUSH_ASKED,
    FLUSH_LOCK,
    HEARTBEATS,
    INSTALLATION,
    METRICS,
    PATH_FAULTS,
    PATH_LEASE,
    PATH_PASSED,
    PATH_REPORT,
    PROBE,
    PROCESS_FACTS,
    PROCESSES_HEARD,
    UNDELIVERABLE,
    UNDELIVERABLE_BYTES,
    layout_key,
    shard_keys,
    stream_keys,
)

SHARD_TYPES: Mapping[str, str] = {
    "record_version": "string",
    "dirty": "zset",
    "counts": "hash",
    "log": "stream",
    "journal_bytes": "string",
    "fence": "string",
    "log_bytes": "string",
    "held": "hash",
    "waiting": "hash",
    "history": "hash",
}
"""By the field of ``ShardKeys``."""
_NUMBERS = frozenset({"record_version", "journal_bytes", "log_bytes"})
"""Those of them that hold a whole number."""
_STATE_TYPES: Mapping[str, str] = {
    METRICS: "hash",
    DEAD_DEPTH: "hash",
    HEARTBEATS: "hash",
    PROCESSES_HEARD: "zset",
    **dict.fromkeys((INSTALLATION, PROCESS_FACTS, PATH_PASSED, PATH_FAULTS), "hash"),
    **dict.fromkeys((API_KEYS, FLUSH_LOCK, FLUSH_ASKED, PROBE, BEAT_LEASE, PATH_REPORT, PATH_LEASE), "string"),
}
_BROKER_TYPES: Mapping[str, str] = {UNDELIVERABLE: "list", UNDELIVERABLE_BYTES: "string"}


class ForeignKey(NamedTuple):
    """A key that holds something else than it should."""

    key: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.key} holds a {self.found} instead of a {self.expected}"


def foreign_keys_of_state(redis: Redis, shards: int) -> list[ForeignKey]:
    """The keys of shards and of the whole product in the state Redis that hold another value, in one round trip.

    Raises:
        StateUnavailableError: the server did not answer.
    """
    types, numbers = dict(_STATE_TYPES), []
    for shard in range(shards):
        for name, key in shard_keys(shard)._asdict().items():
            types[key] = SHARD_TYPES[name]
            if name in _NUMBERS:
                numbers.append(key)
        types |= {layout_key(shard): "hash", **dict.fromkeys(stream_keys(shard), "stream")}
    return _foreign(redis, types, numbers)


def foreign_keys_of_broker(redis: Redis, queues: list[str]) -> list[ForeignKey]:
    """The same for the broker and its queues.

    Raises:
        StateUnavailableError: the server did not answer.
    """
    return _foreign(redis, {**_BROKER_TYPES, **dict.fromkeys(queues, "list")}, [UNDELIVERABLE_BYTES])


def _foreign(redis: Redis, types: Mapping[str, str], numbers: list[str]) -> list[ForeignKey]:
    with state_errors(), redis.pipeline(transaction=False) as pipeline:
        for key in types:
            pipeline.type(key)
        for key in numbers:
            pipeline.get(key)
        replies = with_none_for_other_types(pipeline.execute(raise_on_error=False))
    found = {key: str(reply, "ascii") for key, reply in zip(types, replies, strict=False)}
    texts = zip(numbers, replies[len(types) :], strict=True)
    foreign = [ForeignKey(key, types[key], kind) for key, kind in found.items() if kind not in {"none", types[key]}]
    return foreign + [ForeignKey(key, "number", "text") for key, text in texts if _is_no_number(text)]


def _is_no_number(text: object) -> bool:
    return isinstance(text, bytes) and not text.removeprefix(b"-").isdigit()
