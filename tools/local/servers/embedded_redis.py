"""The embedded Redis or Valkey: data folder, configuration and URL."""

import json
import os
from contextlib import suppress
from pathlib import Path

from cli.client.data_folder import DataFolder, read_json, write_private
from cli.client.ports import LOOPBACK
from tools.local.discovery import Server, choose_redis, find_redis_servers

_CONFIG = """\
# Written by `questline up` at every start.
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir "{folder}"
daemonize no
logfile ""
appendonly yes
appendfsync everysec
save ""
maxmemory {maxmemory}
maxmemory-policy noeviction
"""


LEAST_MEMORY, _MOST_MEMORY = 512 * 1024 * 1024, 16 * 1024 * 1024 * 1024
"""Of a server of our own, where no setting says another. PostgreSQL and the processes want memory as well."""
_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class EmbeddedRedis:
    """A prepared server: ``command`` starts it, ``url`` reaches it."""

    def __init__(self, server: Server, folder: Path, port: int, password: str) -> None:
        self.server = server
        self.folder = folder
        self.port = port
        self.url = f"redis://:{password}@{LOOPBACK}:{port}/0"
        self.command = [str(server.binary), str(folder / "redis.conf")]


def prepare_redis(data: DataFolder, *, taken: set[int], maxmemory: int | None = None) -> EmbeddedRedis:
    """Choose a server that can open the data, a port not in ``taken``, and write the configuration.

    Without ``maxmemory`` (bytes) it may use a quarter of the machine's memory, ``LEAST_MEMORY`` at least.

    Raises:
        ServiceFailedError: there is no server for this data, or the folder cannot be written.
    """
    folder = data.path / "redis"
    marker = read_json(folder / "server.json")
    has_data = (folder / "appendonlydir").exists() and "kind" in marker
    server = choose_redis(find_redis_servers(), (marker["kind"], marker["major"]) if has_data else None)
    folder.mkdir(mode=0o700, exist_ok=True)
    port, password = data.port("redis", taken=taken), data.secret("redis_password")
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    write_private(
        folder / "redis.conf",
        _CONFIG.format(port=port, password=password, folder=quoted, maxmemory=maxmemory or _default_memory()),
    )
    write_private(folder / "server.json", json.dumps({"kind": server.kind, "major": server.major}))
    return EmbeddedRedis(server, folder, port, password)


def _default_memory() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no group of processes, or one without a limit ("max")
        machine = min(machine, int(_GROUP_LIMIT.read_text()))
    return min(max(machine // 4, LEAST_MEMORY), _MOST_MEMORY)
