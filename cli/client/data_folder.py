"""QUESTLINE_DATA_DIR: data kept between runs, and the lock of the one run.

``secrets.json`` (generated passwords), ``ports.json`` (ports of the embedded servers), ``redis/``,
``postgres/``, ``logs/``, and while a run lives ``run.json``, ``supervisord.conf`` and a few files beside
them.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.client.ports import free_port, is_free
from models.errors import ServiceFailedError

_LEAST_ROOM = 16 << 20  # PostgreSQL makes files of this size

_LOCK_PATIENCE_S = 1.0  # a `questline urls` may hold the lock for an instant to see whether we run


class DataFolder:
    """The data folder of one run; relative paths are made absolute, for the children may stand elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.logs = self.path / "logs"
        self.run_file = self.path / "run.json"
        self.config_file = self.path / "supervisord.conf"
        self.supervisor_log = self.logs / "supervisord.log"

    def prepare(self) -> None:
        """Make the folder, for its owner only; one that is already there keeps its permissions.

        Raises:
            ServiceFailedError: it cannot be made or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            (self.path / "run.lock").touch(mode=0o600)
        except OSError as error:
            raise ServiceFailedError(f"QUESTLINE_DATA_DIR {self.path} cannot be used: {error.strerror}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run.

        Raises:
            ServiceFailedError: another run holds it.
        """
        with (self.path / "run.lock").open("a") as lock:
            deadline = time.monotonic() + _LOCK_PATIENCE_S
            while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise ServiceFailedError(
                        f"Questline is already running on {self.path}: stop it, or set QUESTLINE_DATA_DIR"
                    )
                time.sleep(0.05)
            yield

    def is_running(self) -> bool:
        """Whether a live ``questline up`` holds the folder. A lock dies with its process, a pid may come
        back.
        """
        try:
            with (self.path / "run.lock").open("r") as lock:
                return not _try_lock(lock.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def is_full(self) -> bool:
        """Whether its disk has no room for anything of use."""
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize < _LEAST_ROOM

    def secret(self, name: str) -> str:
        """The generated password of this name, made at its first use."""
        path = self.path / "secrets.json"
        known = read_json(path)
        if name not in known:
            known[name] = secrets.token_urlsafe(24)
            write_private(path, json.dumps(known, indent=1))
        return str(known[name])

    def port(self, name: str, *, taken: Collection[int]) -> int:
        """The port of an embedded server: that of the last run where it is free, else another, remembered."""
        path = self.path / "ports.json"
        known = read_json(path)
        last = known.get(name)
        if isinstance(last, int) and last not in taken and is_free(last):
            return last
        port = free_port(taken={*taken, *known.values()})
        write_private(path, json.dumps(known | {name: port}))
        return port


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours; empty where the file is missing.

    Raises:
        ServiceFailedError: the file is there but cannot be read, or is no JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ServiceFailedError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ServiceFailedError(f"{path} is damaged: it holds no JSON object")
    return value


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step by one that only its owner can read, secret from its first byte on.

    Raises:
        ServiceFailedError: it cannot be written; what was there stays.
    """
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        raise ServiceFailedError(f"{path} cannot be written: {error.strerror}") from error


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
