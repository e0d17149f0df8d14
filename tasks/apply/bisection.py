"""Finds the bad events of a batch by halving it."""

from collections.abc import Callable, Sequence

from models.events import Event

Attempt = Callable[[Sequence[Event]], Exception | None]
"""Applies some events of a batch, or answers why that failed."""


def bad_events(events: Sequence[Event], error: Exception, attempt: Attempt) -> list[tuple[Event, Exception]]:
    """The events that fail by themselves, each with its error; all others are applied when this returns.

    ``error`` is what all of them together failed with. The list is empty where the parts pass and the whole did not.
    """
    if len(events) == 1:
        return [(events[0], error)]
    half = len(events) // 2
    found: list[tuple[Event, Exception]] = []
    for part in (events[:half], events[half:]):
        failure = attempt(part)
        if failure is not None:
            found += bad_events(part, failure, attempt)
    return found
