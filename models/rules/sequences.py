"""Chains of steps in event-time order, and when one was first complete."""


def chain(lists: list[list[int]], within: int | None, *, strict: bool) -> tuple[int, int]:
    """The length of the longest chain of first steps, and the earliest end of a whole one (0 where there is none).

    Args:
        lists: for each step its times, oldest first.
        within: how far the last step may lie behind the first, in the unit of the times.
        strict: a step must come after the one before; else at the same time will do.
    """
    longest = earliest = 0
    # Without a duration the earliest first step is as good as any other.
    for start in lists[0] if within is not None else lists[0][:1]:
        length, end = _follow(lists, start, None if within is None else start + within, strict=strict)
        longest = max(longest, length)
        if length == len(lists) and (not earliest or end < earliest):
            earliest = end
    return longest, earliest


def _follow(lists: list[list[int]], start: int, limit: int | None, *, strict: bool) -> tuple[int, int]:
    """Take the earliest possible time of each step in turn."""
    at = start
    for index, times in enumerate(lists[1:], start=1):
        following = (time for time in times if time > at or (time == at and not strict))
        after = next(following, None)
        if after is None or (limit is not None and after > limit):
            return index, at
        at = after
    return len(lists), at
