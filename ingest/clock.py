"""The receiver's clock, passed in wherever time matters."""

import time


def now_us() -> int:
    """The wall clock in microseconds since the epoch."""
    return time.time_ns() // 1_000
