"""Failpoints: nothing where nothing is armed; armed, exactly one process breaks at the moment that a file names."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.errors import ConfigurationError, DatabaseUnavailableError, RetryableError, StateUnavailableError
from models.failpoints import arm, failpoint, now_us


@pytest.fixture
def folder(tmp_path):
    """A folder that this process is armed with."""
    arm(tmp_path, process="worker 0-7")
    yield tmp_path
    arm(None, process="")


def test_nothing_happens_where_nothing_is_armed(tmp_path):
    (tmp_path / "moment").write_text("raise")
    failpoint("moment")
    assert abs(now_us() - time.time_ns() // 1000) < 1_000_000
    assert (tmp_path / "moment").exists()


def test_an_armed_moment_without_a_file_passes(folder):
    failpoint("moment")
    assert list(folder.iterdir()) == []


def test_a_moment_raises_the_error_it_names_and_only_once(folder):
    (folder / "moment").write_text("raise")
    with pytest.raises(DatabaseUnavailableError):
        failpoint("moment", DatabaseUnavailableError)
    failpoint("moment", DatabaseUnavailableError)
    assert (folder / "moment.taken").exists()


def test_of_many_that_come_by_exactly_one_breaks(folder):
    (folder / "moment").write_text("raise")

    def come(_number):
        try:
            failpoint("moment")
        except StateUnavailableError:
            return 1
        return 0

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(come, range(200))) == 1


def test_a_moment_pauses_as_long_as_its_file_says(folder, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("models.failpoints.time.sleep", slept.append)
    (folder / "moment").write_text("pause 2.5")
    failpoint("moment")
    assert slept == [2.5]


def test_a_file_that_says_something_else_is_an_error(folder):
    (folder / "moment").write_text("explode")
    with pytest.raises(RetryableError, match="explode"):
        failpoint("moment")


CHILD = """
import os, sys, time
from pathlib import Path
from models.failpoints import arm, failpoint
arm(Path(sys.argv[1]), process="x")
if sys.argv[2] == "child" and os.fork():
    time.sleep(60)
failpoint("moment")
"""


@pytest.mark.parametrize(("action", "who"), [("kill", "self"), ("kill-parent", "child")])
def test_a_process_kills_itself_or_its_parent(tmp_path, action, who):
    (tmp_path / "moment").write_text(action)
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), who], env={**os.environ})
    assert process.wait(30) == -signal.SIGKILL


def test_a_clock_is_wrong_for_the_process_that_the_file_means_and_while_it_is_there(folder):
    def step_s():
        return round(now_us() / 1e6 - time.time())

    (folder / "clock.worker-8-15").write_text("60")
    assert step_s() == 0
    file = folder / "clock.worker-0-7"
    file.write_text("-3600")
    assert step_s() == -3_600
    file.write_text("")  # just being written
    assert step_s() == 0
    file.unlink()
    assert step_s() == 0


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="FAILPOINTS_DIR"):
        arm(tmp_path / "nowhere", process="x")
