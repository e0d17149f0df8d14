"""The product under measurement: ``questline up`` in a temporary folder, on free ports, nothing left of it.

It is used from outside, as any client would; only the supervisor is asked which process is which.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any, cast

from cli.client.data_folder import DataFolder, read_json
from cli.client.ports import free_port
from cli.client.running import addresses
from config.settings import Settings
from models.errors import ServiceFailedError
from tools.loadtest.canary_counter import write_with_canary_counter
from tools.local.supervision import remote, tail
from tools.local.unprivileged import child_command

_READY_SECONDS = 90.0
_STOP_SECONDS = 25.0
"""``questline up`` promises 15; a crowded machine gets some more before it is killed."""
_READY = "Questline is running"
_NOT_OURS = {"DATABASE_URL", "DB_HOST", "BROKER_URL", "STATE_URL", "AB_NAMESPACE"}
"""Settings that would make the run use servers that others use as well, or leave events out."""


@dataclass(frozen=True)
class Product:
    """A running product."""

    settings: Settings
    """Complete: with the addresses and passwords of its servers."""
    environment: Mapping[str, str]
    """The servers' settings, for processes of the benchmark that use the same ones."""
    socket: Path

    @property
    def http(self) -> str:
        """Where the receiver takes HTTP."""
        return addresses(self.settings)["http"]

    @property
    def grpc(self) -> str:
        """Where the receiver takes gRPC."""
        return addresses(self.settings)["grpc"]

    def pids(self) -> dict[str, int]:
        """The first process of each running program, by its name."""
        with remote(self.socket) as proxy:
            rows = cast("list[dict[str, Any]]", proxy.supervisor.getAllProcessInfo())
        return {row["name"]: row["pid"] for row in rows if row["pid"]}


@contextmanager
def running_product(
    settings: Mapping[str, str] | None = None, *, with_canary_counter: bool = False
) -> Iterator[Product]:
    """A product of our own while the ``with`` lasts, with these settings of its environment.

    ``with_canary_counter``: its goals are those of the challenges file and a canary counter, which
    ``benchmarks.exactness`` needs.

    Raises:
        ConfigurationError, InvalidChallengesError: the challenges file cannot be read, or has faults.
        ServiceFailedError: it did not start; the text ends with what it said.
    """
    folder = Path(tempfile.mkdtemp(prefix="questline-bench-"))
    said = folder / "up.log"
    try:
        ports: list[int] = []
        while len(ports) < 4:
            ports.append(free_port(taken=ports))
        names = ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "FLOWER_PORT")
        environment = {**(settings or {}), **{name: str(port) for name, port in zip(names, ports, strict=True)}}
        environment["QUESTLINE_DATA_DIR"] = str(folder)
        if with_canary_counter:
            challenges = write_with_canary_counter(Settings().challenges_file, folder / "challenges.json")
            environment["CHALLENGES_FILE"] = str(challenges)
        with child([sys.executable, "-m", "cli", "up"], environment, said) as process:
            _wait_until_ready(process, said)
            yield _product(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def child(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the ``with``, and also when we are killed.

    It has a session of its own, so that a Ctrl-C reaches only us, who then stop things in order.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    with log.open("wb") as output:
        process = subprocess.Popen(
            child_command(command, stop=SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**inherited, **environment},  # handed on as it is; only settings read it
        )
    try:
        yield process
    finally:
        process.send_signal(SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", said: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while _READY not in said.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServiceFailedError(f"`questline up` did not start:\n{tail(said)}")
        time.sleep(0.1)


def _product(folder: Path) -> Product:
    run = read_json(DataFolder(folder).run_file)
    told = {name: value for name, value in run["settings"].items() if value is not None}
    return Product(
        settings=Settings(**told, questline_data_dir=folder),
        environment={name.upper(): str(value) for name, value in told.items()},
        socket=Path(run["socket"]),
    )
