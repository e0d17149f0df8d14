"""`questline chaos` as an operator runs it: a short run with a fixed seed, which every `make test` repeats."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import long_only
from tests.servers import wait_until
from worker.chaos.report import is_good

SECONDS = 15
PATIENCE = 280
FAULTS = (
    "journal.appended:kill",
    "message.received:kill",
    "batches.taken:kill-parent",
    "batch.applied:kill",
    "flush.committed:kill",
    "worker-frozen",
    "redis-killed",
    "redis-reply-cut",
    "redis-disk-full",
    "postgres-reply-cut",
)


def command(*options):
    return [sys.executable, "-m", "worker.cli", "chaos", *options]


def processes_of(folder: Path):
    """Every process that has the folder in its command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()) or str(folder) in " ".join(process.environ().values()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.timeout(300)
def test_a_short_run_loses_nothing_and_doubles_nothing(tmp_path):
    folder = tmp_path / "kept"
    chosen = [part for fault in FAULTS for part in ("--only", fault)]
    # Settings of this environment must not reach it: these would bring it to its knees.
    environment = {**os.environ, "STATE_URL": "redis://127.0.0.1:1/0", "JOURNAL_MAX_ATTEMPTS": "1"}
    ended = subprocess.run(
        command("--minutes", str(SECONDS / 60), "--seed", "7", *chosen, "--keep", str(folder), "--json"),
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = json.loads(ended.stdout)
    assert [said[name] for name in ("seed", "lost", "doubled", "rows_wrong", "audit_differences")] == [7, 0, 0, 0, 0]
    assert said["acknowledged"] == said["counted"] > 100
    assert said["rows_compared"] > 100
    assert said["unlocks_compared"] > 50
    assert said["faults"] >= 5
    assert "seed 7" in ended.stderr
    assert processes_of(folder) == []


@long_only
def test_a_run_that_is_stopped_leaves_nothing_behind(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        command("--minutes", "1"), env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    wait_until(lambda: len(processes_of(tmp_path)) > 2, seconds=30)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130, process.stderr.read()
    process.stderr.close()
    wait_until(lambda: processes_of(tmp_path) == [])
    assert list(tmp_path.iterdir()) == []


GOOD = {
    "counted": 10, "lost": 0, "doubled": 0, "stray": 0, "rejected": 0, "rows_wrong": 0, "audit_differences": 0,
    "dead_letters": {},
}  # fmt: skip


def test_zero_and_zero_are_the_only_good_figures():
    assert is_good(GOOD)
    assert not is_good({**GOOD, "counted": 0})
    assert not is_good({**GOOD, "dead_letters": {"out_of_attempts": 1}})
    for name in set(GOOD) - {"counted", "dead_letters"}:
        assert not is_good({**GOOD, name: 1}), name


def test_a_name_that_no_fault_has_is_refused():
    ended = subprocess.run(command("--only", "earthquake"), capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "earthquake" in ended.stderr
