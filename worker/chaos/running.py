"""One chaos run from the first process to the verdict."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from worker.chaos.driving import Driver
from worker.chaos.fault import Fault
from worker.chaos.history_faults import HISTORY_FAULTS
from worker.chaos.installation import Installation, running_installation
from worker.chaos.load import Load, draw_load
from worker.chaos.moment_faults import MOMENT_FAULTS
from worker.chaos.process_faults import PROCESS_FAULTS
from worker.chaos.proof import forget_lost_history, prove
from worker.chaos.report import Damage, as_data
from worker.chaos.rule_faults import RULE_FAULTS
from worker.chaos.schedule import WIPE, Step, draw_schedule
from worker.chaos.server_faults import SERVER_FAULTS
from worker.load.send import SendReport
from worker.load.tally import write_with_tally
from worker.services.interrupts import Interrupts, StoppedError
from worker.services.running import addresses
from worker.wiring import load_rulebook

_ALL = (*PROCESS_FAULTS, *MOMENT_FAULTS, *SERVER_FAULTS, *HISTORY_FAULTS, *RULE_FAULTS)
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
    """Whom a run tells how far it is."""

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
        """Do it in an empty folder; returns what ``worker.chaos.report`` says of it.

        The goals are those of the challenges file and a tally of each kind of event (``worker.load.tally``).

        Raises:
            ConfigurationError, InvalidChallengesError: the challenges file cannot be read, or has faults.
            ServiceFailedError: the installation did not start, or did not come back.
            StoppedError: a stop was asked for.
        """
        challenges_file = write_with_tally(challenges_file, folder / "challenges.json")
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
        driver.settle()
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
