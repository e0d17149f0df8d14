"""Nodes for pytest-celery without a container engine: real servers and workers as processes of this machine.

pytest-celery asks its nodes for the surface of a container. These have it over a process in a session of its own and
a log file, so that the same tests drive containers and processes.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

import celery
import psutil
from pytest_celery import CeleryTestContainer, CeleryTestWorker

from cli.client.data_folder import DataFolder
from models.state.checks.requirements import redis_fault
from tests.support.servers import wait_until
from tools.local.servers.embedded_redis import prepare_redis
from tools.local.unprivileged import child_command

BOOT_SECONDS = 40.0


class ProcessContainer(CeleryTestContainer):  # type: ignore[misc]  # the plugin ships no types
    """A process that pytest-celery takes for a container. It starts at once; ``ready`` waits for it."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, *, environment: Mapping[str, str], stop: Signals = SIGKILL
    ) -> None:
        # Not the plugin's own, which wraps a container of the engine. ``stop`` is what the kernel sends it when the
        # test run itself is killed.
        self._name = name
        self._command = child_command(command, stop=stop)
        self._log = log
        self._environment = {**os.environ, **environment}
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as output:
            self._present_run = output.tell()
            return subprocess.Popen(
                self._command, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def id(self) -> str:
        """Where the process runs: the node name of a Celery worker ends in it."""
        return socket.gethostname()

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> str:
        """``running`` or ``exited``, as the engine says it."""
        return "running" if self._process.poll() is None else "exited"

    @property
    def attrs(self) -> dict[str, Any]:
        """The part of the engine's description that tests read."""
        state = {"Status": self.status, "Pid": self._process.pid, "ExitCode": self._process.poll()}
        return {"Config": {"Hostname": self.id}, "State": state}

    def logs(self) -> str:
        """What the present run has written."""
        return self._log.read_bytes()[self._present_run :].decode(errors="replace")

    def ready(self) -> bool:
        """Wait until the log shows the prompt; a process that ends before is a failure."""
        prompt = self.ready_prompt or ""
        wait_until(lambda: prompt in self.logs() or self.status == "exited", seconds=BOOT_SECONDS, message=self.logs)
        assert self.status == "running", f"{self.name} ended:\n{self.logs()}"
        return True

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal as the engine does: SIGKILL ends every process inside, others go to the first one."""
        number = Signals[signal] if isinstance(signal, str) else Signals(signal)
        if number is SIGKILL:
            os.killpg(self._process.pid, SIGKILL)
            self._process.wait()
        else:
            self._process.send_signal(number)

    def start(self) -> None:
        """Start an exited process again, with the same command."""
        assert self.status == "exited"
        self._process = self._started()

    def restart(self, timeout: float = 10) -> None:
        """Stop it, forcibly after ``timeout`` seconds, and start it again."""
        self.stop(timeout)
        self.start()
        self.ready()

    def stop(self, timeout: float = 10) -> int:
        """End it with SIGTERM, forcibly after ``timeout`` seconds; returns its exit code."""
        if self.status == "running":
            self.kill("SIGTERM")
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill("SIGKILL")
            return self._process.wait()

    def wait(self, timeout: float = 20) -> int:
        """Wait for its end; returns its exit code."""
        return self._process.wait(timeout)

    def reload(self) -> None:
        """Nothing is cached here."""

    def teardown(self) -> None:
        self.stop()

    def children(self) -> list[psutil.Process]:
        """Every process below this one."""
        family: list[psutil.Process] = psutil.Process(self._process.pid).children(recursive=True)
        return family


class LocalRedis(ProcessContainer):
    """A Redis or Valkey with an append-only file, on one port for its whole life."""

    def __init__(self, folder: Path) -> None:
        data = DataFolder(folder)
        data.prepare()
        self._server = prepare_redis(data, taken=set())
        super().__init__("redis", self._server.command, folder / "redis.log", environment={}, stop=SIGTERM)

    @property
    def ready_prompt(self) -> str:
        return "Ready to accept connections"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = self._server.url
        return {"url": url, "host_url": url, "hostname": "127.0.0.1", "port": self._server.port, "vhost": "0"}

    @property
    def url(self) -> str:
        """Where it answers, now or after the next start."""
        return self._server.url

    def ready(self) -> bool:
        super().ready()
        wait_until(lambda: redis_fault(self.url) is None, message=lambda: str(redis_fault(self.url)))
        return True


class LocalWorker(ProcessContainer):
    """One process of the product, such as ``worker --shards 0-1`` or ``beat``, with its settings."""

    def __init__(self, arguments: Sequence[str], log: Path, *, environment: Mapping[str, str]) -> None:
        self._arguments = list(arguments)
        command = [sys.executable, "-m", "cli", *arguments]
        super().__init__(node_name(arguments), command, log, environment=environment)

    @property
    def ready_prompt(self) -> str | None:
        # Beat says nothing at the level of our logs.
        return "ready." if self._arguments[0] == "worker" else None

    def version(self) -> str:
        return str(celery.__version__)

    def log_level(self) -> str:
        return self._environment.get("LOG_LEVEL", "info").upper()

    def worker_name(self) -> str:
        return self.name


class QuestlineWorker(CeleryTestWorker):  # type: ignore[misc]  # the plugin ships no types
    """A worker node under its full name, which the plugin would cut to the length of a container's id."""

    def hostname(self) -> str:
        return f"{self.worker_name}@{self.container.attrs['Config']['Hostname']}"


def node_name(arguments: Sequence[str]) -> str:
    """The name that the product gives to a process started with these arguments."""
    if "--shards" in arguments:
        return f"shards-{arguments[arguments.index('--shards') + 1]}"
    return "maintenance" if "--maintenance" in arguments else arguments[0]
