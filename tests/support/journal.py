"""What is accepted and not applied yet, as tests look at it."""

from typing import Any

from redis import Redis

from models.events import Event, unpack_batch
from models.state.keys import stream_keys
from models.state.queue.batches import Batch


def journaled_batches(redis: Redis, shards: int) -> list[Batch]:
    """Every batch in the journals, by the name of its entry."""
    batches = []
    for shard in range(shards):
        for number, stream in enumerate(stream_keys(shard)):
            entries: Any = redis.xrange(stream)
            batches += [Batch(shard, f"{number}:{name.decode()}", fields[b"b"]) for name, fields in entries]
    return batches


def journaled_events(redis: Redis, shards: int) -> list[Event]:
    """Every event in the journals."""
    return [event for batch in journaled_batches(redis, shards) for event in unpack_batch(batch.packed)]
