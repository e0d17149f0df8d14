"""Work for a script cut into calls, so that none holds Redis for long."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

CALL_WEIGHT = 2_000
"""What one call may weigh: a row to write or an id to add weighs one, some microseconds; a user about six."""
USER_WEIGHT = 6


def in_parts(items: Iterable[T], weigh: Callable[[T], int], *, limit: int = CALL_WEIGHT) -> Iterator[list[T]]:
    """The items in their order, as many at a time as ``limit`` allows; one that weighs more comes alone."""
    part: list[T] = []
    weight = 0
    for item in items:
        more = weigh(item)
        if part and weight + more > limit:
            yield part
            part, weight = [], 0
        part.append(item)
        weight += more
    if part:
        yield part
