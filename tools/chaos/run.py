"""One chaos run from the first process to the outcome."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from cli.client.running import addresses
from tools.chaos.driver import Driver
from tools.chaos.faults.failpoints import FAILPOINT_FAULTS
from tools.chaos.faults.fault import Fault
from tools.chaos.faults.history import HISTORY_FAULTS
from tools.chaos.faults.process import PROCESS_FAULTS
from tools.chaos.faults.rules import RULE_FAULTS
from tools.chaos.faults.server import SERVER_FAULTS
from tools.chaos.installation import Installation, running_installation
from tools.chaos.load import Load, draw_load
from tools.chaos.proof import forget_lost_history, prove
from tools.chaos.report import Damage, as_data
from tools.chaos.schedule import WIPE, Step, draw_schedule
from tools.loadtest.canary_counter import write_with_canary_counter
from tools.loadtest.sender import SendReport
from tools.local.signals import Interrupts, StoppedError
from worker.wiring import load_rulebook

_ALL = (*PROCESS_FAULTS, *FAILPOINT_FAULTS, *SERVER_FAULTS, *HISTORY_FAULTS, *RULE_FAULTS)
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
"""Every fault but the wipe, by its name."""
_LAST_S = 400.0
"""A request's patience, and some more."""


def draw_steps(seed: int, seconds: float, parts: Collection[str]) -> list[Step]:
    """The schedule of the faults, the wipe among them, whose names contain one of these parts."""
    names = [name for name in (*FAULTS, WIPE) if any(part in name for part in parts)]
    return draw_schedule(seed, seconds, [FAULTS[name] for name in names if name != WIPE], wipes=WIPE in names)


@dataclass(frozen=True, slots=True)
class Progress:
    """Hears how far a run is."""

    doing: Callable[[str], None]
    sent: Callable[[int], None]
    """Told the number of events of each request that is answered."""
    broken: Callable[[str], None]
    """Told the name of each fault."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run shall be."""

    seed: int
    seconds: float
    rate: float
    """Events a second, repeats included."""
    steps: Sequence[Step]

    def go(self, folder: Path, challenges_file: Path, interrupts: Interrupts, progress: Progress) -> dict[str, Any]:
        """Do it in an empty folder; returns what ``tools.chaos.report`` says of it.

        The goals are those of the challenges file and a canary counter of each kind of event
        (``tools.loadtest.canary_counter``).

        Raises:
            ConfigurationError, InvalidChallengesError: the challenges file cannot be read, or has faults.
            ServiceFailedError: the installation did not start, or did not come back.
            StoppedError: a stop was asked for.
        """
        challenges_file = write_with_canary_counter(challenges_file, folder / "challenges.json")
        progress.doing("starting an installation")
        with running_installation(folder, challenges_file, interrupts) as installation:
            return self._break(installation, interrupts, progress)

    def _break(self, installation: Installation, interrupts: Interrupts, progress: Progress) -> dict[str, Any]:
        rulebook = load_rulebook(installation.settings)
        plan = draw_load(rulebook, seed=self.seed, run=uuid4().hex[:10], events=int(self.rate * self.seconds))
        load = Load(plan, addresses(installation.settings)["http"], self.rate, progress.sent)
        driver = Driver(installation, FAULTS, load.target, progress.broken)
        load.start()
        try:
            progress.doing("breaking it")
            started = time.monotonic()
            driver.run(self.steps)
            seconds = time.monotonic() - started
            progress.doing("waiting for the last answers")
            load.end()
            sent = _finish(load, installation)
        finally:
            load.stop()
        progress.doing("waiting for PostgreSQL")
        driver.wait_until_quiet()
        progress.doing("comparing")
        forgotten = forget_lost_history(sent, installation.at_risk, installation.settings)
        proof = prove(sent, installation.settings, lambda _count: _check(interrupts))
        damage = Damage(
            self.seed, seconds, driver.survived, driver.missed, installation.ended_by_themselves(), forgotten
        )
        return as_data(damage, sent, proof)


def _finish(load: Load, installation: Installation) -> SendReport:
    installation.wait("the last requests", lambda: "not all are answered" if load.is_running else None, _LAST_S)
    if load.report is None:
        raise StoppedError
    return load.report


def _check(interrupts: Interrupts) -> None:
    if interrupts.asked:
        raise StoppedError
