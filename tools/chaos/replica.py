"""A second Redis that takes over and gives back, as managed services do.

Nothing is lost by it: the master takes no writes until its replica has all of them (FAILOVER). What is tried is that
every connection is cut, that the server behind the address is another one, and that the former one refuses writes.
"""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from cli.client.data_folder import write_private
from cli.client.ports import LOOPBACK, free_port
from models.errors import ServiceFailedError
from tools.local.programs import Program

REPLICA = "redis-replica"
_PATIENCE_S = 30.0
_PAUSE_S = 0.05
_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
masterauth {password}
replicaof 127.0.0.1 {of}
dir "{folder}"
logfile ""
save ""
maxmemory-policy noeviction
"""


class Replica:
    """The replica of a server on the loopback interface."""

    def __init__(self, folder: Path, url: str, binary: str) -> None:
        """Write its configuration; ``url`` is that of its master, ``binary`` the program of both."""
        parts = urlsplit(url)
        self._password = parts.password or ""
        self.port, self.master_port = free_port(), int(parts.port or 0)
        own = folder / "replica"
        own.mkdir()
        config = own / "redis.conf"
        write_private(config, _CONFIG.format(port=self.port, password=self._password, of=self.master_port, folder=own))
        self.program = Program(REPLICA, [binary, str(config)])

    def take_over(self) -> bool:
        """Become the master, once in step; whether that came about."""
        try:
            with self._client(self.master_port) as master:
                master.config_set("masterauth", self._password)
                master.config_set("repl-diskless-sync-delay", 0)
            _wait(self._is_in_step)
            self._promote(self.port, instead_of=self.master_port)
        except (RedisError, TimeoutError):
            return False
        return True

    def give_back(self) -> None:
        """Let the former master be the master again.

        Raises:
            ServiceFailedError: it does not come about.
        """
        try:
            _wait(lambda: self._is_linked(self.master_port))
            self._promote(self.master_port, instead_of=self.port)
        except (RedisError, TimeoutError) as error:
            raise ServiceFailedError(f"the former master does not take over again: {error}") from error

    def _promote(self, port: int, *, instead_of: int) -> None:
        with self._client(instead_of) as master:
            master.execute_command("FAILOVER", "TO", LOOPBACK, port)
        _wait(lambda: self._role(port) == "master" and self._role(instead_of) == "slave")

    def _is_in_step(self) -> bool:
        return self._is_linked(self.port)

    def _is_linked(self, port: int) -> bool:
        return self._replication(port).get("master_link_status") == "up"

    def _role(self, port: int) -> object:
        return self._replication(port).get("role")

    def _replication(self, port: int) -> dict[str, object]:
        try:
            with self._client(port) as client:
                found: dict[str, object] = client.info("replication")
        except RedisError:  # it starts, or loads what it was sent
            return {}
        return found

    def _client(self, port: int) -> Redis:
        """Past the product's own connections, which refuse a replica."""
        return Redis(host=LOOPBACK, port=port, password=self._password, socket_timeout=2, retry=Retry(NoBackoff(), 0))


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it took too long")
        time.sleep(_PAUSE_S)
