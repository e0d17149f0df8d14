"""Processes of the installation: children, stop, continue (Linux, ``/proc``)."""

import os
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP, Signals


def children(pid: int) -> list[int]:
    """The direct children of a process, oldest first; none where it is gone."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return sorted(found)


def send(pid: int, number: Signals) -> bool:
    """Send a signal; whether the process was there. Never signals pid 0, which would mean ourselves."""
    if pid <= 0:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def freeze(pid: int) -> list[int]:
    """Stop a process and its children where they stand; returns those that ``thaw`` must wake."""
    family = [pid, *children(pid)]
    return [member for member in family if send(member, SIGSTOP)]


def thaw(family: list[int]) -> None:
    """Let frozen processes go on."""
    for pid in family:
        send(pid, SIGCONT)
