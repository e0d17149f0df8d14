"""A run with small programs in place of the product: what dies is restarted, what is stopped is gone."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from models.errors import ServiceFailedError, StateUnavailableError
from tests.support.servers import wait_until
from tests.support.trial import SLEEPER, Trial, watching
from tools.local.programs import Program
from tools.local.servers.selection import ReadinessCheck
from tools.local.signals import StoppedError
from tools.local.supervision import stop_leftover

pytestmark = pytest.mark.slow


@pytest.fixture
def trial(tmp_path):
    """Makes trials, and ends them."""
    made = []

    def make(programs, **options):
        made.append(Trial(options.pop("folder", tmp_path), programs, **options))
        return made[-1]

    yield make
    for each in made:
        each.run.stop(drain=False)


def test_a_program_that_is_killed_is_started_again_and_said_so(trial):
    one = trial([Program("sleeper", SLEEPER)])
    one.run.start()
    pid = one.pid("sleeper")
    watcher = watching(one)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: any("died" in line for line in one.output.lines), message=lambda: str(one.output.lines))
    one.interrupts.ask()
    watcher.join()
    [said] = [line for line in one.output.lines if "died" in line]
    assert said == f"sleeper (pid {pid}) died: terminated by SIGKILL; started again as pid {one.pid('sleeper')}"


def test_a_program_that_ends_by_itself_is_not_said_to_have_died(trial):
    stoppable = "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: sys.exit()); signal.pause()"
    one = trial([Program("sleeper", [sys.executable, "-c", stoppable])])
    one.run.start()
    pid = one.pid("sleeper")
    watcher = watching(one)
    wait_until(lambda: _catches(pid, signal.SIGUSR1))
    os.kill(pid, signal.SIGUSR1)
    wait_until(lambda: any("by itself" in line for line in one.output.lines), message=lambda: str(one.output.lines))
    one.interrupts.ask()
    watcher.join()
    assert f"sleeper (pid {pid}) ended by itself; started again as pid {one.pid('sleeper')}" in one.output.lines


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, as its status tells."""
    [mask] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_program_that_keeps_failing_ends_the_run_with_the_end_of_its_log(trial):
    failing = [sys.executable, "-c", "import sys; sys.exit('the reason in its log')"]
    one = trial([Program("sleeper", SLEEPER), Program("failing", failing)])
    one.run.start()
    with pytest.raises(ServiceFailedError, match=r"failing keeps failing .*exit status 1.*\n.*the reason in its log"):
        one.run.watch()


def test_programs_get_their_settings_by_environment_and_log_to_their_own_file(trial):
    telling = [
        sys.executable,
        "-c",
        "import os, time; print(os.environ['QUESTLINE_TOLD'], flush=True); time.sleep(600)",
    ]
    one = trial([Program("telling", telling)])
    one.run.start()
    wait_until(lambda: (one.data.logs / "telling.log").read_text() == "by the launcher\n")


def test_a_stop_takes_the_receiver_first_and_waits_for_what_was_accepted(trial):
    left = [3, 2, 1, 0]
    seen = []

    def backlog(_):
        seen.append({name: state.is_up for name, state in one.run._supervisor.states().items()})
        return left.pop(0)

    one = trial(
        [Program("receiver", SLEEPER), Program("worker-x", SLEEPER), Program("beat", SLEEPER)],
        backlog=backlog,
    )
    _start_without_asking(one)
    one.run.stop()
    assert seen == [{"receiver": False, "worker-x": True, "beat": True}] * 4
    stopped = [line for line in one.output.lines if line.startswith("(stopping")]
    assert stopped[:2] == ["(stopping receiver)", "(stopping receiver, worker-x, beat)"]


def test_a_backlog_that_does_not_drain_is_said_and_a_second_signal_ends_the_wait(trial):
    one = trial([Program("receiver", SLEEPER)], backlog=lambda _: 7)
    _start_without_asking(one)
    one.interrupts.ask()
    one.interrupts.ask()
    start = time.monotonic()
    one.run.stop()
    assert time.monotonic() - start < 4
    assert "7 accepted entries are not in PostgreSQL yet; the next run brings them there" in one.output.lines


def test_redis_away_at_the_stop_does_not_hinder_it(trial):
    def backlog(_):
        raise StateUnavailableError("no answer")

    one = trial([Program("receiver", SLEEPER)], backlog=backlog)
    _start_without_asking(one)
    one.run.stop()
    assert any("stays in the journal" in line for line in one.output.lines)


def test_a_program_deaf_to_the_stop_signal_and_its_children_are_killed_in_time(trial):
    deaf = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"print(subprocess.Popen([sys.executable, '-c', {SLEEPER[-1]!r}]).pid, flush=True); time.sleep(600)"
    )
    one = trial([Program("deaf", [sys.executable, "-c", deaf], stop_wait_s=1)])
    one.run.start()
    log = one.data.logs / "deaf.log"
    wait_until(lambda: log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    start = time.monotonic()
    one.run.stop(drain=False)
    assert time.monotonic() - start < 8
    wait_until(lambda: not psutil.pid_exists(grandchild))
    assert not one.data.run_file.exists()


def test_a_long_path_of_the_data_folder_gets_a_short_socket(trial, tmp_path):
    one = trial([Program("sleeper", SLEEPER)], folder=tmp_path / ("long" * 30))
    one.run.start()
    assert len(str(one.run._supervisor.socket)) < 90
    one.run.stop(drain=False)
    assert not one.run._supervisor.socket.parent.exists()


def test_a_stop_while_starting_is_heeded(trial):
    one = trial([Program("sleeper", SLEEPER)])
    one.run._servers.check = ReadinessCheck("a server", lambda: "not there yet", 60)
    one.interrupts.ask()
    with pytest.raises(StoppedError):
        one.run.start()


@pytest.mark.parametrize("victim", ["launcher", "supervisor"])
def test_killing_whoever_is_above_leaves_no_orphan(tmp_path, victim):
    code = (
        "from pathlib import Path\n"
        "from tests.support.trial import Trial, SLEEPER, Program\n"
        f"t = Trial(Path({str(tmp_path)!r}), [Program('sleeper', SLEEPER)]); t.run.start()\n"
        "print(t.run._supervisor._process.pid, t.pid('sleeper'), flush=True); t.run.watch()"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert launcher.stdout is not None
    supervisor, sleeper = map(int, launcher.stdout.readline().split())
    os.kill(launcher.pid if victim == "launcher" else supervisor, signal.SIGKILL)
    wait_until(lambda: not _alive(sleeper) and not _alive(supervisor))
    launcher.wait(10)
    launcher.stdout.close()
    stop_leftover(Path(tmp_path / "supervisor.sock"))


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _start_without_asking(one: Trial) -> None:
    """Start programs named like the product's without the questions only the product answers."""
    one.run._supervisor.launch(one.run._servers.environment())
    one.run._start(program.name for program in one.run._product.programs)
    wait_until(lambda: all(state.state == "RUNNING" for state in one.run._supervisor.states().values()))
