"""Failpoints: points in the code at which a test installation breaks on purpose.

``failpoint("name")`` does nothing unless the process was armed with a folder (``FAILPOINTS_DIR``) at its start. Armed,
it looks there for a file of that name, takes it, and does what it says: ``kill`` (SIGKILL of the own process),
``kill-parent`` (of the parent first; for a process of a worker's pool), ``pause SECONDS``, or ``raise`` (the error that
the failpoint names). Exactly one process takes a file; it stays as ``name.taken``, which says that the failpoint came.

The same folder may hold ``clock.PROCESS``: seconds by which the clock of that process is wrong, for as long as the
file is there.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import NamedTuple

from models.errors import ConfigurationError, RetryableError, StateUnavailableError

TAKEN = ".taken"
"""Behind the name of a file that a process took."""


class _Arms(NamedTuple):
    folder: Path
    process: str


_arms: _Arms | None = None


def arm(folder: Path | None, *, process: str) -> None:
    """Let this process, and those that it forks, break at the failpoints that files in the folder name.

    Args:
        folder: where the files are; None disarms.
        process: the name by which ``clock.PROCESS`` means this process.

    Raises:
        ConfigurationError: there is no such folder.
    """
    global _arms  # noqa: PLW0603 - one for the process, as what it breaks is the process
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"FAILPOINTS_DIR: {folder} is no folder")
    _arms = None if folder is None else _Arms(folder, clock_name(process))


def clock_name(process: str) -> str:
    """A process' name as a part of a file's name."""
    return process.replace(" ", "-").replace("/", "-")


def failpoint(name: str, error: type[Exception] = StateUnavailableError) -> None:
    """A failpoint at which a process may be broken.

    Raises:
        Exception: ``error``, where the file of this name says ``raise``.
    """
    if _arms is not None:  # the whole cost where nothing is armed
        _come(_arms.folder / name, error)


def now_us() -> int:
    """The clock of this process: microseconds since the epoch, as far as a file says that it is wrong."""
    now = time.time_ns() // 1000
    if _arms is not None:
        with suppress(OSError, ValueError):  # not there, or just being written
            now += int(float((_arms.folder / f"clock.{_arms.process}").read_text()) * 1_000_000)
    return now


def _come(file: Path, error: type[Exception]) -> None:
    taken = file.with_name(file.name + TAKEN)
    try:
        file.rename(taken)  # the second process finds nothing
        action, _, seconds = taken.read_text().partition(" ")
    except OSError:
        return
    if action == "pause":
        time.sleep(float(seconds))
    elif action == "raise":
        raise error(f"the failpoint {file.name} says so")
    elif action in {"kill", "kill-parent"}:
        if action == "kill-parent":
            os.kill(os.getppid(), SIGKILL)
        os.kill(os.getpid(), SIGKILL)
    else:
        raise RetryableError(f"the failpoint {file.name} holds {action!r}, which is none of kill, pause, raise")
