"""The product as its users run it: ``questline up`` as a process, known by its own pid and data folder only."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

import psutil
import psycopg2

from tests.support.servers import wait_until
from tools.local.supervision import remote


class Up:
    """One ``questline up`` of this test, known by its own process and data folder only."""

    program = "cli"
    """The module that is the command line."""

    def __init__(self, folder: Path, ports: dict[str, int], **extra: str) -> None:
        self.data = folder / "data"
        self.output = folder / "output.txt"
        unwanted = {"DATABASE_URL", "DB_HOST", "DB_PORT", "DB_PASSWORD", "BROKER_URL", "STATE_URL"}
        kept = {name: value for name, value in os.environ.items() if name not in unwanted}
        told = {name: str(port) for name, port in ports.items()}
        self.environment = {**kept, **told, "QUESTLINE_DATA_DIR": str(self.data), **extra}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.program, "up"],
                env=self.environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> None:
        wait_until(
            lambda: "Try it" in self.said() or self.process.poll() is not None,
            seconds=100,
            message=self.said,
        )
        assert self.process.poll() is None, self.said()

    def command(self, *verb: str) -> list[str]:
        """A verb as a command line."""
        return [sys.executable, "-m", self.program, *verb]

    def run(self, *verb: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*verb), env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )

    def begin(self, *verb: str) -> "subprocess.Popen[str]":
        """A verb that runs on beside the test."""
        return subprocess.Popen(self.command(*verb), env=self.environment, stdout=PIPE, stderr=PIPE, text=True)

    def rows(self, statement: str) -> list[Any]:
        """What PostgreSQL answers."""
        return query(self.run("urls", "database_url").stdout.strip(), statement)

    def programs(self) -> dict[str, int]:
        """The pid of every program that runs now."""
        with remote(json.loads((self.data / "run.json").read_text())["socket"]) as proxy:
            rows: Any = proxy.supervisor.getAllProcessInfo()
        return {row["name"]: row["pid"] for row in rows if row["pid"]}

    def family(self) -> list[psutil.Process]:
        """Every process below ours."""
        below: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return below

    def end(self, number: signal.Signals = signal.SIGINT) -> float:
        """Stop it as a user does; the seconds it took."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - start


def query(url: str, statement: str) -> list[Any]:
    """All rows of a statement."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()
