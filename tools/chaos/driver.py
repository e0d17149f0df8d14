"""Executes a schedule of faults: strike, heal, and keep up what must run."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random

from redis.exceptions import RedisError

from models.errors import QuestlineError, ServiceFailedError
from tools.chaos.faults.fault import Fault, Heal
from tools.chaos.installation import Installation
from tools.chaos.load import HeldTarget
from tools.chaos.schedule import WIPE, Step
from worker.wiring import backlog

_STEP_S = 0.1
_KEEP_UP_S = 1.0
_WIPE_PATIENCE_S = 15.0
_MOST_WAITING = 5_000
QUIET_S = 600.0
"""How long what was accepted may take to reach PostgreSQL once everything is healed. A batch that was tried often waits
for up to five minutes until it is tried again."""


@dataclass(slots=True)
class Driver:
    """Drives one run."""

    installation: Installation
    faults: Mapping[str, Fault]
    load: HeldTarget
    on_step: Callable[[str], None] = lambda _name: None
    survived: Counter[str] = field(default_factory=Counter)
    """How often each fault took hold."""
    missed: Counter[str] = field(default_factory=Counter)
    """How often one was struck and did not take hold, as its process was just starting."""
    _active: list[tuple[float, str, Heal]] = field(default_factory=list)
    _kept_up: float = 0.0

    def run(self, steps: Sequence[Step]) -> None:
        """Do all steps; at the end everything is healed.

        Raises:
            ServiceFailedError: the installation does not come back.
            StoppedError: a stop was asked for.
        """
        start = time.monotonic()
        for step in steps:
            self._until(start + step.at)
            if step.name == WIPE:
                before = time.monotonic()
                self._wipe()
                start += time.monotonic() - before  # what follows keeps its distance
            else:
                heal = self.faults[step.name].strike(self.installation, Random(step.seed))  # noqa: S311 - not secret
                self._active.append((start + step.until, step.name, heal))
            self.on_step(step.name)
        self._heal(float("inf"))
        self.load.held = False

    def wait_until_quiet(self) -> None:
        """Wait until everything answers and nothing is on its way to PostgreSQL.

        Raises:
            ServiceFailedError: it takes too long.
            StoppedError: a stop was asked for.
        """
        self.installation.wait_ready()
        self.installation.wait("what was accepted", partial(_fault_of_backlog, self.installation), QUIET_S)

    def _until(self, deadline: float) -> None:
        while True:
            now = time.monotonic()
            self._heal(now)
            if now - self._kept_up > _KEEP_UP_S:
                self._kept_up = now
                self.installation.keep_up()
                self._hold_load()
            if now >= deadline:
                return
            self.installation.interrupts.pause(min(_STEP_S, deadline - now))

    def _hold_load(self) -> None:
        """Faults are to be found, not the limits of a busy machine: let it catch up where too much waits."""
        with suppress(QuestlineError):
            self.load.held = backlog(self.installation.settings) > _MOST_WAITING

    def _heal(self, now: float) -> None:
        """Heal what is due, in the order of striking."""
        due = [active for active in self._active if active[0] <= now]
        self._active = [active for active in self._active if active[0] > now]
        for _, name, heal in due:
            (self.survived if heal() else self.missed)[name] += 1

    def _wipe(self) -> None:
        """Empty Redis when nothing is on its way: it is a cache then, and losing it must cost nothing.

        A batch that was tried often may wait for minutes: there will be another wipe.
        """
        self._heal(float("inf"))
        self.load.held = True
        try:
            self.installation.wait("the requests under way", self._fault_of_load, _WIPE_PATIENCE_S)
            self.installation.wait("what was accepted", partial(_fault_of_backlog, self.installation), _WIPE_PATIENCE_S)
            self.installation.redis.flushall()
            self.survived[WIPE] += 1
        except (ServiceFailedError, RedisError):
            self.missed[WIPE] += 1
        finally:
            self.load.held = False

    def _fault_of_load(self) -> str | None:
        return f"{self.load.under_way} are not answered" if self.load.under_way else None


def _fault_of_backlog(installation: Installation) -> str | None:
    try:
        left = backlog(installation.settings)
    except QuestlineError as error:
        return str(error)
    return f"{left} entries are not in PostgreSQL" if left else None
