"""supervisord, started as a child and controlled over XML-RPC.

It lives in a session of its own, so that a Ctrl-C in the terminal reaches only this process, which stops things in
order; and it ends when we end, however we do.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from os import environ, getpid, getsid, kill
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from cli.client.data_folder import DataFolder, write_private
from models.errors import ServiceFailedError
from tools.local.programs import Program, supervisor_config
from tools.local.unprivileged import child_command

_START_TIMEOUT_S = 10.0
_LONGEST_SOCKET = 85
"""Bytes: the system's limit is near 100, and supervisord first binds a name with its pid appended."""


@dataclass(frozen=True)
class State:
    """What the supervisor knows of one program."""

    name: str
    state: str
    """supervisord's word: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN."""
    pid: int
    exit_status: int

    @property
    def is_up(self) -> bool:
        """Whether a process of it is there."""
        return self.state in {"STARTING", "RUNNING", "STOPPING"}


class Supervisor:
    """A running supervisord and the programs it was given, none of which it starts by itself."""

    def __init__(self, data: DataFolder, programs: Sequence[Program]) -> None:
        self._data = data
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._short_folder: Path | None = None
        self.socket = data.path / "supervisor.sock"
        if len(bytes(self.socket)) > _LONGEST_SOCKET:
            self._short_folder = Path(tempfile.mkdtemp(prefix="questline-", dir="/tmp"))
            self.socket = self._short_folder / "supervisor.sock"

    def launch(self, environment: Mapping[str, str]) -> None:
        """Start supervisord; its programs get our own environment with these values over it.

        Raises:
            ServiceFailedError: it did not come up.
        """
        write_private(self._data.config_file, supervisor_config(self._programs, self._data, self.socket))
        self.socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tools.local.supervisord", "-n", "-c", str(self._data.config_file)]
        with (self._data.logs / "supervisord.err").open("wb") as errors:
            self._process = subprocess.Popen(
                child_command(command, stop=SIGTERM, parent=getpid()),
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True,
                env={**environ, **environment},  # handed on as it is; only settings read it
            )  # fmt: skip
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceFailedError(f"supervisord did not start: {tail(self._data.logs / 'supervisord.err')}")
            time.sleep(0.02)

    def states(self) -> dict[str, State]:
        """Every program by its name.

        Raises:
            ServiceFailedError: the supervisor is gone.
        """
        rows = self._ask("getAllProcessInfo")
        return {row["name"]: State(row["name"], row["statename"], row["pid"], row["exitstatus"]) for row in rows}

    def start(self, *names: str) -> None:
        """Start programs without waiting for them; how they fare is in ``states``."""
        for name in names:
            with suppress(Fault):  # a program that cannot be executed shows as FATAL
                self._ask("startProcess", name, False)

    def stop(self, *names: str) -> None:
        """Ask programs to stop without waiting for them; those that do not are killed after their
        ``stop_wait_s``.
        """
        for name in names:
            with suppress(Fault):  # not running
                self._ask("stopProcess", name, False)

    def signal(self, name: str, number: Signals) -> None:
        """Send a signal to a program's first process."""
        with suppress(Fault):
            self._ask("signalProcess", name, number.name.removeprefix("SIG"))

    def exit_reason(self, name: str) -> str:
        """How a program ended last, in supervisord's words: ``terminated by SIGKILL``, ``exit status 1``."""
        found = re.findall(rf"exited: {re.escape(name)} \(([^;)]*)", tail(self._data.supervisor_log, lines=200))
        return str(found[-1]) if found else "reason unknown"

    def close(self, timeout_s: float) -> None:
        """End supervisord and whatever of its programs still runs; safe to call twice or when it has died."""
        if self._process is not None:
            self._process.send_signal(SIGTERM)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            _kill_session(self._process.pid)
        self.socket.unlink(missing_ok=True)
        if self._short_folder is not None:
            shutil.rmtree(self._short_folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            self._ask("getState")
        except ServiceFailedError:
            return False
        return True

    def _ask(self, verb: str, *arguments: object) -> Any:
        # A connection for every call: supervisor's client cannot be used again once a call on it has failed.
        try:
            with remote(self.socket) as proxy:
                return getattr(proxy.supervisor, verb)(*arguments)
        except (OSError, HTTPException) as error:
            log = self._data.supervisor_log
            raise ServiceFailedError(f"the process supervisor does not answer; see {log}") from error


def remote(socket: Path) -> ServerProxy:
    """The XML-RPC face of the supervisord behind this socket; the address before it is never used."""
    return ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, f"unix://{socket}"))


def stop_leftover(socket: Path, *, timeout_s: float = 20.0) -> None:
    """End a supervisord whose ``questline up`` was killed, and wait until it is gone.

    Raises:
        ServiceFailedError: it stays.
    """
    deadline = time.monotonic() + timeout_s
    with remote(socket) as proxy:
        while socket.exists():
            try:
                proxy.supervisor.shutdown()
            except Fault:
                pass  # it is on its way down already
            except (OSError, HTTPException):
                return
            if time.monotonic() > deadline:
                raise ServiceFailedError(f"the supervisor of an earlier run ({socket}) does not end: stop it by hand")
            time.sleep(0.1)


def _kill_session(session: int) -> None:
    """Kill what is left of supervisord's session, such as the pool of a worker that was itself killed."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, PermissionError):
            if getsid(int(entry.name)) == session:
                kill(int(entry.name), SIGKILL)


def tail(path: Path, *, lines: int = 15) -> str:
    """The last lines of a log, or a word that there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 32_768))
            text = file.read().decode(errors="replace").rstrip()
    except OSError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"
