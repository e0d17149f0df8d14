"""One run of the whole product: prepare, start in order, watch, stop in order."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from signal import SIGKILL
from typing import Protocol

from cli.client.data_folder import DataFolder
from cli.client.running import web_host, write_run_file
from config.settings import Settings
from models.errors import QuestlineError, ServiceFailedError
from tools.local import programs as named
from tools.local.programs import Program
from tools.local.readiness import WorkerPing, listens, receiver_readiness
from tools.local.servers.selection import Servers
from tools.local.signals import Interrupts
from tools.local.supervision import State, Supervisor, tail

_BY_ITSELF = "exit status 0"
"""As after a change of the shared settings, which a process takes up by a new start."""
_POLL_S = 0.1
_WATCH_S = 0.5
_READY_TIMEOUT_S = 90.0
_DRAIN_S = 6.0
_STOP_S = 14.0
"""All of a stop, with a second to spare of the fifteen that are promised."""
_WORKERS_S = 7.0
"""Kept for workers to bring to an end what they have in hand: a turn, and one that waits behind it."""
_LAST_STAGE_S = 3.0
"""Kept for Redis and PostgreSQL to write what they hold."""


class ConsoleOutput(Protocol):
    """Where a run says what it does."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def show_status(self, what: str) -> None:
        """What is being waited for, shown until the next word."""


@dataclass(frozen=True)
class Product:
    """What a run starts beside the servers, and how it is asked; tests start less."""

    programs: Sequence[Program]
    backlog: Callable[[Settings], int]
    """Accepted work that PostgreSQL does not have yet: journal batches, dirty users and log entries."""
    check: Callable[[Settings], None] = lambda _settings: None
    """Called when servers and tables are there; what it raises keeps the product from starting."""


class Run:
    """One run, from ``start`` over ``watch`` to ``stop``."""

    def __init__(
        self, data: DataFolder, servers: Servers, product: Product, output: ConsoleOutput, stop: Interrupts
    ) -> None:
        self.settings = servers.settings
        self._data = data
        self._servers = servers
        self._product = product
        self._output = output
        self._interrupts = stop
        self._known: dict[str, State] = {}
        self._proven: set[str] = set()
        """Programs that have run well: when they fail later, what they need is away, and they are started again."""
        self._failing: set[str] = set()
        self._supervisor = Supervisor(data, [*servers.programs, *product.programs])

    def start(self) -> None:
        """Start everything and return when all of it answers.

        Raises:
            ServiceFailedError: something does not start; the text ends with the last lines of its log.
            StoppedError: a stop was asked for meanwhile.
        """
        self._output.show_status("starting the process supervisor")
        self._supervisor.launch(self._servers.environment())
        write_run_file(self._data, self.settings, self._supervisor.socket)
        self._start(program.name for program in self._servers.programs)
        for label, fault, patience_s in self._servers.readiness_checks():
            self._wait(label, fault, patience_s)
            self._output.say(f"{label} is ready")
        self._servers.complete()
        names = [program.name for program in self._product.programs]
        if named.MIGRATE in names:
            self._migrate()
        self._product.check(self.settings)
        self._start(name for name in names if name != named.MIGRATE)
        self._wait_for_product(names)

    def watch(self) -> None:
        """Say what dies and comes back, until a stop is asked for.

        Raises:
            ServiceFailedError: a program cannot be kept running.
            StoppedError: a stop was asked for.
        """
        while True:
            self._check_programs()
            self._interrupts.pause(_WATCH_S)

    def stop(self, *, drain: bool = True) -> None:
        """Stop everything, what takes events first and what keeps them last; a second signal hastens it.

        With ``drain`` it waits in between, within bounds, until what was accepted is in PostgreSQL.
        """
        deadline = time.monotonic() + _STOP_S
        names = [program.name for program in self._product.programs]
        servers = [program.name for program in self._servers.programs]
        try:
            if drain and named.RECEIVER in names:
                self._stop([named.RECEIVER], deadline - _DRAIN_S)
                self._drain(min(time.monotonic() + _DRAIN_S, deadline - _LAST_STAGE_S - _WORKERS_S))
            self._supervisor.stop(*[name for name in names if name == named.BEAT])  # first, but without waiting for it
            self._stop(names, deadline - _LAST_STAGE_S)
            self._stop(servers, deadline)
        except ServiceFailedError as error:  # the supervisor itself has died
            self._output.say(str(error))
        self._supervisor.close(timeout_s=max(1.0, deadline - time.monotonic()))
        self._data.run_file.unlink(missing_ok=True)

    def _start(self, names: Iterable[str]) -> None:
        self._supervisor.start(*names)
        self._check_programs()

    def _migrate(self) -> None:
        self._output.show_status("bringing PostgreSQL to this version's tables")
        self._supervisor.start(named.MIGRATE)
        while (state := self._supervisor.states()[named.MIGRATE]).state != "EXITED":
            if state.state == "FATAL":
                break
            self._interrupts.pause(_POLL_S)
        if state.state != "EXITED" or state.exit_status != 0:
            raise self._failure(named.MIGRATE, "failed")

    def _wait_for_product(self, names: Sequence[str]) -> None:
        if named.RECEIVER in names:
            self._wait("the receiver", self._receiver_fault)
            decision = receiver_readiness(self.settings).decision
            self._output.say(f"the receiver is not ready: {decision}" if decision else "the receiver is ready")
        workers = sum(name == named.MAINTENANCE or name.startswith(named.SHARD_WORKER) for name in names)
        if workers:
            with closing(WorkerPing(self.settings)) as ping:
                self._wait(f"{workers} workers", partial(_missing, ping, workers))
            self._output.say(f"{workers} workers are ready")
        if named.FLOWER in names:
            address = (self.settings.flower_port, web_host(self.settings.http_host))
            self._wait("Flower", lambda: None if listens(*address) else "it does not listen yet")
            self._output.say("Flower is ready")
        self._wait("every program", self._not_up)

    def _receiver_fault(self) -> str | None:
        readiness = receiver_readiness(self.settings)
        return None if readiness.decision else readiness.fault  # an operator may take longer than we wait

    def _not_up(self) -> str | None:
        states = self._supervisor.states().values()
        waiting = [state.name for state in states if state.name != named.MIGRATE and not state.is_up]
        return f"{', '.join(waiting)} not up yet" if waiting else None

    def _wait(self, what: str, fault: Callable[[], str | None], patience_s: float = _READY_TIMEOUT_S) -> None:
        self._output.show_status(f"waiting for {what}")
        deadline = time.monotonic() + patience_s
        while (reason := fault()) is not None:
            self._check_programs()
            if time.monotonic() > deadline:
                raise ServiceFailedError(f"{what} did not get ready in {patience_s:.0f} s: {reason}")
            self._interrupts.pause(_POLL_S)

    def _check_programs(self) -> None:
        """Compare with what was last seen, and say what died in between."""
        for name, state in self._supervisor.states().items():
            before = self._known.get(name)
            if state.state == "FATAL":
                self._start_anew(name)
            elif state.state == "RUNNING":
                self._proven.add(name)
                self._failing.discard(name)
            if before is not None and before.pid and state.pid != before.pid and name != named.MIGRATE:
                if not state.pid:
                    continue  # dead, not yet started again: said when it is
                reason = self._supervisor.exit_reason(name)
                what = "ended by itself" if reason == _BY_ITSELF else f"died: {reason}"
                self._output.say(f"{name} (pid {before.pid}) {what}; started again as pid {state.pid}")
            self._known[name] = state

    def _start_anew(self, name: str) -> None:
        """Start a program that the supervisor has given up: what it needs may come back, as room on a full disk.

        Raises:
            ServiceFailedError: it has never run well, and there is room.
        """
        if name not in self._proven and not self._data.is_full():
            raise self._failure(name, "keeps failing at its start")
        if name not in self._failing:
            self._failing.add(name)
            self._output.say(f"{name} keeps failing ({self._supervisor.exit_reason(name)}); it is started again")
        self._supervisor.start(name)

    def _failure(self, name: str, what: str) -> ServiceFailedError:
        log = self._data.logs / f"{name}.log"
        return ServiceFailedError(
            f"{name} {what} ({self._supervisor.exit_reason(name)}); the end of {log}:\n{tail(log)}"
        )

    def _drain(self, deadline: float) -> None:
        left = 0
        while True:
            try:
                left = self._product.backlog(self.settings)
            except QuestlineError as error:
                self._output.say(f"what is accepted stays in the journal for the next run ({error})")
                return
            if not left:
                return
            self._output.show_status(f"waiting until what was accepted is in PostgreSQL ({left} left)")
            if time.monotonic() > deadline or not self._interrupts.linger(_POLL_S):
                self._output.say(f"{left} accepted entries are not in PostgreSQL yet; the next run brings them there")
                return

    def _stop(self, names: Sequence[str], deadline: float) -> None:
        """Stop programs side by side; at the deadline, or in a hurry, by force."""
        self._output.show_status(f"stopping {', '.join(names)}")
        self._supervisor.stop(*names)
        while up := [name for name in names if (state := self._supervisor.states().get(name)) and state.is_up]:
            if time.monotonic() > deadline or not self._interrupts.linger(_POLL_S):
                for name in up:
                    self._supervisor.signal(name, SIGKILL)
                time.sleep(_POLL_S)


def _missing(ping: WorkerPing, workers: int) -> str | None:
    answering = len(ping.answering(workers))
    return None if answering >= workers else f"{answering} of {workers} answer"
