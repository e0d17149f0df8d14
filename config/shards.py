"""One shard number, three uses: the Celery queue, the Redis hash tag and the dirty set (promise P4)."""

from zlib import crc32

MAINTENANCE_QUEUE = "maintenance"
_EVENTS = "events."
_DIGITS = 9


def shard_for(tenant_id: str, user_id: str, shards: int) -> int:
    """The shard that owns a user: ``crc32(tenant NUL user) mod shards``."""
    return crc32(f"{tenant_id}\0{user_id}".encode()) % shards


def queue_for(shard: int) -> str:
    """The Celery queue that carries a shard's batches."""
    return f"{_EVENTS}{shard}"


def shard_of_queue(queue: str) -> int | None:
    """The shard whose batches a queue carries; None where it carries none."""
    shard = queue.removeprefix(_EVENTS)
    # Stray messages name queues too: int() raises at thousands of digits.
    return int(shard) if shard != queue and shard.isdecimal() and len(shard) <= _DIGITS else None


def carries_tasks(queue: str) -> bool:
    """Whether a queue is one of ours for tasks; others carry Celery's replies to remote control."""
    return queue == MAINTENANCE_QUEUE or shard_of_queue(queue) is not None


def parse_shards(text: str, shards: int) -> list[int]:
    """Read a worker's share of shards, such as ``0-7``, ``3`` or ``0-3,8,12-15``; ``all`` takes every one.

    Raises:
        ValueError: the text is no such list, or names a shard outside ``0..shards-1``.
    """
    if text == "all":
        return list(range(shards))
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{part!r} is not a shard or a range of shards such as 0-7")
        span = range(int(first), int(last or first) + 1)
        if not span or span[-1] >= shards:
            raise ValueError(f"{part!r} is outside the {shards} shards 0-{shards - 1}")
        chosen.update(span)
    return sorted(chosen)


def share_of(worker: int, workers: int, shards: int) -> str:
    """The run of shards that worker number ``worker`` of ``workers`` takes, as ``parse_shards`` reads it."""
    first, end = worker * shards // workers, (worker + 1) * shards // workers
    return f"{first}-{end - 1}"
