"""Memory by program: the most that each one, with all processes below it, held while it was watched."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread

import psutil

LIMITS_MIB: Mapping[str, int] = {
    "redis": 1536,
    "postgres": 1024,
    "receiver": 512,
    "worker": 512,
    "maintenance": 512,
    "beat": 256,
    "flower": 512,
}
"""What ``docker-compose.yml`` allows each service; a test holds the two together."""
_EVERY_SECONDS = 0.5
_MIB = 1024 * 1024


@contextmanager
def watched_memory(pids: Callable[[], Mapping[str, int]]) -> Iterator[dict[str, int]]:
    """The peaks of all programs in MiB, filled while the ``with`` lasts.

    A program's memory is the sum over its processes of their proportional share of each page, which is what a
    container would be charged with: the pages that a worker shares with its child count once.
    """
    peaks: dict[str, int] = {}
    stop = Event()

    def watch() -> None:
        while not stop.wait(_EVERY_SECONDS):
            for name, pid in pids().items():
                peaks[name] = max(peaks.get(name, 0), _held(pid) // _MIB)

    thread = Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def over_limit(peaks: Mapping[str, int]) -> list[str]:
    """The programs that held more than they may, in words."""
    return [
        f"{name} held {peak} MiB, its bound is {LIMITS_MIB[service]}"
        for name, peak in peaks.items()
        if peak > LIMITS_MIB[service := name.partition("-")[0]]
    ]


def _held(pid: int) -> int:
    size = 0
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                size += process.memory_full_info().pss
    return size
