"""CPU time by program: of its process, of the processes below it, and of those that have ended below it."""

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import psutil

LOAD_GENERATOR = "load generator"


@dataclass(frozen=True)
class CpuReading:
    """What each program has used so far, in seconds."""

    at: float
    by_program: Mapping[str, float]
    machine: float
    """Of all processors, whoever used them."""


@dataclass
class CpuUse:
    """What was used over one or more spans of time."""

    wall: float = 0.0
    by_program: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    machine: float = 0.0

    def add(self, before: CpuReading, after: CpuReading) -> None:
        """Add the span between two readings."""
        self.wall += after.at - before.at
        self.machine += after.machine - before.machine
        for name, seconds in after.by_program.items():
            self.by_program[name] += seconds - before.by_program.get(name, 0.0)

    @property
    def ours(self) -> float:
        """Seconds of the product and the load generator."""
        return sum(self.by_program.values())

    @property
    def others_share(self) -> float:
        """The part of the machine's processors that work other than ours took: 0 to 1."""
        return max(0.0, self.machine - self.ours) / (self.wall * (psutil.cpu_count() or 1)) if self.wall else 0.0


def read_cpu(pids: Mapping[str, int]) -> CpuReading:
    """What these programs, and we as the load generator, have used."""
    used = {name: _with_descendants(pid) for name, pid in pids.items()}
    own = psutil.Process(os.getpid()).cpu_times()
    used[LOAD_GENERATOR] = own.user + own.system
    total = psutil.cpu_times()
    return CpuReading(monotonic(), used, sum(total) - total.idle - getattr(total, "iowait", 0.0) - total.guest)


def _with_descendants(pid: int) -> float:
    # A process' times of children are those of children that have ended, so nothing is counted twice.
    seconds = 0.0
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return seconds
