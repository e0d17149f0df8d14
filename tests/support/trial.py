"""Runs of questline up with programs of a test, and without servers."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

from cli.client.data_folder import DataFolder
from config.settings import Settings
from tools.local.launcher import Product, Run
from tools.local.programs import Program
from tools.local.servers.selection import ReadinessCheck, Servers
from tools.local.signals import Interrupts, StoppedError

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


class Recorder:
    """Output that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def show_status(self, what: str) -> None:
        self.lines.append(f"({what})")


class NoServers(Servers):
    """The servers of a run whose programs need none."""

    check: ReadinessCheck | None = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def programs(self) -> list[Program]:
        return []

    def readiness_checks(self) -> Iterator[ReadinessCheck]:
        return iter([self.check] if self.check else [])

    def complete(self) -> None:
        pass

    def environment(self) -> dict[str, str]:
        return {"QUESTLINE_TOLD": "by the launcher"}


class Trial:
    """A run under test and all it said."""

    def __init__(self, folder: Path, programs: list[Program], backlog: Callable[[Settings], int] = lambda _: 0) -> None:
        self.data = DataFolder(folder)
        self.data.prepare()
        self.output = Recorder()
        self.interrupts = Interrupts()
        servers = NoServers(Settings(questline_data_dir=folder))
        self.run = Run(self.data, servers, Product(programs, backlog), self.output, self.interrupts)

    def pid(self, name: str) -> int:
        return self.run._supervisor.states()[name].pid


def watching(trial: Trial) -> Thread:
    """Watch in a thread until a stop is asked for."""

    def watch() -> None:
        with suppress(StoppedError):
            trial.run.watch()

    thread = Thread(target=watch)
    thread.start()
    return thread
