"""A full disk below the data folder: ``questline up`` stands still with the rest, and goes on when there is room.

A limit on the size of files (RLIMIT_FSIZE) stands for the full disk where no root is needed: a write past it fails as
one without room does, and the limit can be lifted.
"""

import os
import resource
import sys
from contextlib import contextmanager
from signal import SIGKILL

import psutil
import pytest
from celery import Celery
from celery.beat import PersistentScheduler

from tests.support.servers import wait_until
from tests.support.trial import SLEEPER, Trial, watching
from tools.local.programs import Program
from worker.scheduler import BoundedScheduler

pytestmark = pytest.mark.slow

NOISY = [
    sys.executable,
    "-c",
    "import time; [print('a line ' * 20, flush=True) or time.sleep(0.01) for _ in iter(int, 1)]",
]
SICKLY = [
    sys.executable,
    "-c",
    "import os, sys, time; os.path.exists(sys.argv[1]) and time.sleep(600) or sys.exit('no room')",
]


@pytest.fixture
def trial(tmp_path):
    made = []

    def make(programs):
        made.append(Trial(tmp_path / "data", programs))
        return made[-1]

    yield make
    for each in made:
        each.interrupts.ask()
        each.run.stop(drain=False)


@contextmanager
def no_room(pid, size):
    """No file of this process can grow past ``size`` bytes."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def supervisor_of(one):
    """The pid of supervisord."""
    return one.run._supervisor._process.pid


def test_the_supervisor_outlives_logs_that_cannot_be_written(trial):
    one = trial([Program("noisy", NOISY), Program("sleeper", SLEEPER)])
    one.run.start()
    watcher = watching(one)
    log = one.data.logs / "noisy.log"
    wait_until(lambda: log.stat().st_size > 10_000)
    with no_room(supervisor_of(one), 10_000):
        size = log.stat().st_size
        before = one.pid("sleeper")
        os.kill(before, SIGKILL)  # is told in supervisord's own log, and started again
        wait_until(lambda: one.pid("sleeper") not in {0, before}, message=lambda: str(one.run._supervisor.states()))
        noisy = psutil.Process(one.pid("noisy"))
        written = noisy.io_counters().write_count
        wait_until(lambda: noisy.io_counters().write_count > written + 1000)  # it is not held up: its lines are dropped
        assert log.stat().st_size - size < 10_000
    size = log.stat().st_size
    wait_until(lambda: log.stat().st_size > size + 10_000)
    one.interrupts.ask()
    watcher.join()


def test_what_cannot_run_on_a_full_disk_is_started_again_until_there_is_room(trial, tmp_path, monkeypatch):
    room = tmp_path / "room"
    one = trial([Program("sickly", [*SICKLY, str(room)])])
    full = [True]
    monkeypatch.setattr(one.data, "is_full", lambda: full[0])
    one.run.start()
    watcher = watching(one)
    wait_until(lambda: any("keeps failing" in line for line in one.output.lines), seconds=40)
    room.touch()
    wait_until(lambda: one.run._supervisor.states()["sickly"].is_up, seconds=40)
    one.interrupts.ask()
    watcher.join()
    assert sum("keeps failing" in line for line in one.output.lines) == 1


def test_the_clock_goes_on_where_its_schedule_cannot_be_written(tmp_path, monkeypatch):
    scheduler = BoundedScheduler(Celery(), schedule_filename=str(tmp_path / "schedule"))
    scheduler.setup_schedule()

    def fails(_scheduler):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(PersistentScheduler, "sync", fails)
        scheduler.sync()
    scheduler.close()
