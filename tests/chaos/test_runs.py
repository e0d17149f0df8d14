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
from tests.support.servers import wait_until
from tools.chaos.report import MOST_UNKNOWN, is_good
from tools.chaos.run import draw_steps
from tools.chaos.schedule import WIPE

SECONDS = 23
SEED = 458
"""Of the first six thousand seeds three draw every fault within so few seconds, and none within fewer."""
PATIENCE = 280
CHOSEN = (
    "journal.appended:kill",
    "message.received:kill",
    "batches.taken:kill-parent",
    "batch.applied:kill",  # which kill-parent has in its name
    "batch.applied:kill-parent",
    "flush.committed:kill",
    "worker-frozen-in-brpop-and-killed",
    "redis-killed",
    "redis-reply-cut",
    "redis-disk-full",
    "postgres-reply-cut",
    WIPE,
)


def command(*options):
    return [sys.executable, "-m", "cli", "chaos", *options]


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


def test_the_short_run_draws_every_fault_that_is_chosen_for_it():
    assert {step.name for step in draw_steps(SEED, SECONDS, CHOSEN)} == {*CHOSEN}


@pytest.mark.timeout(300)
def test_a_short_run_loses_nothing_and_doubles_nothing(tmp_path):
    folder = tmp_path / "kept"
    chosen = [part for fault in CHOSEN for part in ("--only", fault)]
    # Settings of this environment must not reach it: these would bring it to its knees.
    environment = {**os.environ, "STATE_URL": "redis://127.0.0.1:1/0", "JOURNAL_MAX_ATTEMPTS": "1"}
    ended = subprocess.run(
        command("--minutes", str(SECONDS / 60), "--seed", str(SEED), *chosen, "--keep", str(folder), "--json"),
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = json.loads(ended.stdout)
    figures = ("seed", "lost", "doubled", "rows_wrong", "audit_differences", "audit_skipped")
    assert [said[name] for name in figures] == [SEED, 0, 0, 0, 0, 0]
    assert said["acknowledged"] == said["counted"] > 100
    assert said["rows_compared"] > 100
    assert said["unlocks_compared"] > 50
    survived, missed = said["faults_by_name"], said["faults_missed"]
    assert {*survived, *missed} == {*CHOSEN}
    # A fault misses where its process is just being started again, which takes longer on a busy machine.
    assert len(survived) > len({*missed} - {*survived}), f"too many missed: {missed}"
    assert f"seed {SEED}" in ended.stderr
    assert processes_of(folder) == []


HISTORY = ("redis-restored", "redis-emptied", "postgres-restored", "reset.")


@long_only
@pytest.mark.timeout(400)
def test_stores_that_go_back_in_time_under_load_lose_only_what_no_other_server_had():
    chosen = [part for fault in HISTORY for part in ("--only", fault)]
    ended = subprocess.run(
        command("--minutes", "1", "--seed", "3", *chosen, "--json"),
        capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = json.loads(ended.stdout)
    figures = ("lost", "doubled", "rows_wrong", "audit_differences", "audit_skipped")
    assert [said[name] for name in figures] == [0, 0, 0, 0, 0]
    assert said["acknowledged"] == said["counted"] > 1000
    assert len({*said["faults_by_name"], *said["faults_missed"]}) == 6
    assert said["forgotten"] > 0


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
    "audit_skipped": 0, "judged_late": 0, "dead_letters": {}, "acknowledged": 990, "unknown": 0,
    "faults_by_name": {"redis-killed": 1, WIPE: 1}, "faults_missed": {"redis-reply-cut": 1},
}  # fmt: skip
BAD = ("lost", "doubled", "stray", "rejected", "rows_wrong", "audit_differences", "audit_skipped")


def test_zero_and_zero_are_the_only_good_figures():
    assert is_good(GOOD)
    assert not is_good({**GOOD, "counted": 0})
    assert not is_good({**GOOD, "dead_letters": {"out_of_attempts": 1}})
    for name in BAD:
        assert not is_good({**GOOD, name: 1}), name


@pytest.mark.parametrize("survived", [{}, {WIPE: 1}])
def test_a_run_in_which_no_fault_took_hold_proves_nothing(survived):
    assert not is_good({**GOOD, "faults_by_name": survived})


def test_a_run_of_wipes_alone_is_good_if_there_was_one():
    assert is_good({**GOOD, "faults_by_name": {WIPE: 1}, "faults_missed": {}})
    assert not is_good({**GOOD, "faults_by_name": {}, "faults_missed": {WIPE: 1}})


def test_a_run_in_which_many_events_had_no_answer_proves_nothing():
    assert MOST_UNKNOWN == 0.01
    assert is_good({**GOOD, "unknown": 10})
    assert not is_good({**GOOD, "unknown": 11})


def test_a_name_that_no_fault_has_is_refused():
    ended = subprocess.run(command("--only", "earthquake"), capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "earthquake" in ended.stderr
