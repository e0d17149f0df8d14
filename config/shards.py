"""The shard number: Celery queue, Redis hash tag and dirty set (promise P4)."""

import re
from zlib import crc32

MAINTENANCE_QUEUE = "maintenance"
_EVENTS = "events."
_DIGITS = 9
_PART = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")


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

    ``2/3`` is the second of three equal parts, however many shards there are; where there are fewer, it may be empty.

    Raises:
        ValueError: the text is no such list, or names a shard outside ``0..shards-1``.
    """
    if text == "all":
        return list(range(shards))
    if part := _PART.fullmatch(text):
        return _part_of(int(part[1]), int(part[2]), shards)
    chosen: set[int] = set()
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{piece!r} is not a shard, a range of shards such as 0-7, or a part of them such as 1/2")
        span = range(int(first), int(last or first) + 1)
        if not span or span[-1] >= shards:
            raise ValueError(f"{piece!r} is outside the {shards} shards 0-{shards - 1}")
        chosen.update(span)
    return sorted(chosen)


def _part_of(number: int, parts: int, shards: int) -> list[int]:
    if not 1 <= number <= parts:
        raise ValueError(f"'{number}/{parts}' is no shard's part: the first is 1/{parts}, the last {parts}/{parts}")
    return list(range((number - 1) * shards // parts, number * shards // parts))
