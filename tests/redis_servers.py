"""Redis servers as operators have them: with a user of an ACL, with TLS, with replicas and Sentinels, as a cluster.

All of them are real servers of this machine (``find_redis_servers``), stopped at the end::

    with redis_server(folder, "--cluster-enabled", "yes") as server: ...
    with tls_in_front(folder, server.port) as tls: connect_state(tls.url(":secret@"))
    with sentinel_group(folder) as group: Settings(broker_url=group.url)
"""

import select
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import trustme
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry

from tests.servers import wait_until
from worker.services.discovery import find_redis_servers
from worker.services.ports import LOOPBACK, free_port
from worker.services.unprivileged import child_command

PASSWORD = "secret"
ONCE = Retry(NoBackoff(), 0)
SERVICE = "questline"


@dataclass
class RedisProcess:
    """A server or a Sentinel."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@{LOOPBACK}:{self.port}/0"

    def client(self) -> Redis:
        """A client without any of the product's code."""
        return Redis(host=LOOPBACK, port=self.port, password=PASSWORD, socket_timeout=2, retry=ONCE)

    def replicas(self) -> int:
        """How many replicas have a write of this moment. One that is still loading counts as there, but has none."""
        with self.client().pipeline(transaction=False) as pipeline:
            pipeline.set("probe", "1")
            pipeline.wait(100, 50)
            return int(pipeline.execute()[1])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


def start_redis(folder: Path, *options: str, port: int | None = None) -> RedisProcess:
    """A server that keeps nothing on disk, or with a configuration file as first option a Sentinel."""
    port = port or free_port()
    # A replica would wait five seconds for others that come.
    kept = ["--save", "", "--requirepass", PASSWORD, "--repl-diskless-sync-delay", "0"]
    head = [] if options and options[0].endswith(".conf") else kept
    binary = find_redis_servers()[0].binary
    with (folder / f"redis-{port}.log").open("wb") as log:
        command = [str(binary), *(options if not head else ()), "--port", str(port), "--bind", LOOPBACK]
        process = subprocess.Popen(
            child_command([*command, "--dir", str(folder), *head, *(options if head else ())], stop=signal.SIGKILL),
            stdout=log,
            stderr=log,
        )
    started = RedisProcess(port, process)
    wait_until(lambda: answers(started), message=(folder / f"redis-{port}.log").read_text)
    return started


def answers(server: RedisProcess) -> bool:
    try:
        with Redis(host=LOOPBACK, port=server.port, socket_timeout=2, retry=ONCE) as client:
            client.ping()
    except AuthenticationError:
        return True
    except RedisError:
        return False
    return True


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisProcess]:
    """One server behind a password."""
    server = start_redis(folder, *options)
    try:
        yield server
    finally:
        server.end()


@dataclass
class SentinelGroup:
    """A master, its replicas, and the Sentinels that watch them."""

    folder: Path
    servers: list[RedisProcess] = field(default_factory=list)
    sentinels: list[RedisProcess] = field(default_factory=list)

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        return f"sentinel://:{PASSWORD}@{hosts}/{SERVICE}/0?sentinel_password={PASSWORD}"

    def master(self) -> RedisProcess:
        """Whom the first Sentinel holds to be the master."""
        told: Any = self.sentinels[0].client().sentinel_get_master_addr_by_name(SERVICE)
        return next(server for server in self.servers if server.port == int(told[1]))

    def fail_over(self, number: signal.Signals = signal.SIGKILL) -> RedisProcess:
        """Take the master away, and wait until a replica was promoted; returns the master that was."""
        old = self.master()
        old.signal(number)
        if number is signal.SIGKILL:
            old.process.wait()
        wait_until(lambda: self.master() is not old, seconds=30, message="no replica was promoted")
        new = self.master()
        wait_until(lambda: new.client().role()[0] == b"master", message="the promoted replica is none")
        return old

    def start_again(self, old: RedisProcess) -> RedisProcess:
        """Start a server that was killed; the Sentinels make a replica of it."""
        back = self.servers[self.servers.index(old)] = start_redis(self.folder, "--masterauth", PASSWORD, port=old.port)
        wait_until(lambda: back.client().role()[0] == b"slave", seconds=30, message="it stayed a master")
        return back

    def end(self) -> None:
        for process in (*self.servers, *self.sentinels):
            process.end()

    def in_step(self) -> bool:
        """Whether the master has all its replicas, and the Sentinels know of each other."""
        masters: Any = self.sentinels[0].client().sentinel_masters()
        told = masters[SERVICE]
        peers = told["num-other-sentinels"] == len(self.sentinels) - 1
        return (
            peers
            and int(told["num-slaves"]) == len(self.servers) - 1
            and self.master().replicas() == len(self.servers) - 1
        )


_SENTINEL = """\
requirepass {password}
sentinel sentinel-pass {password}
sentinel monitor {service} 127.0.0.1 {port} {quorum}
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} 700
sentinel failover-timeout {service} 3000
"""


@contextmanager
def sentinel_group(folder: Path, *, replicas: int = 1, sentinels: int = 3) -> Iterator[SentinelGroup]:
    """Servers and Sentinels that have found each other."""
    group = SentinelGroup(folder)
    with ExitStack() as stack:
        stack.callback(group.end)
        group.servers.append(start_redis(folder, "--masterauth", PASSWORD))
        first = group.servers[0].port
        for _ in range(replicas):
            group.servers.append(start_redis(folder, "--masterauth", PASSWORD, "--replicaof", f"{LOOPBACK} {first}"))
        # A Sentinel looks for replicas at once, and then every ten seconds.
        wait_until(lambda: group.servers[0].replicas() == replicas, message="no replica is in step")
        for number in range(sentinels):
            file = folder / f"sentinel-{number}.conf"
            quorum = sentinels // 2 + 1
            file.write_text(_SENTINEL.format(password=PASSWORD, service=SERVICE, port=first, quorum=quorum))
            group.sentinels.append(start_redis(folder, str(file), "--sentinel"))
        wait_until(group.in_step, seconds=30, message="the Sentinels have not found the servers and each other")
        yield group


@dataclass
class TlsPort:
    """A port that speaks TLS."""

    port: int
    ca_file: Path

    def url(self, login: str = f":{PASSWORD}@", host: str = "localhost") -> str:
        return f"rediss://{login}{host}:{self.port}/0"


@contextmanager
def tls_in_front(folder: Path, port: int, name: str = "localhost") -> Iterator[TlsPort]:
    """TLS in front of a server, as a managed service ends it; the certificate is for this name only."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    stopped = Event()
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(0.1)
        thread = Thread(target=_take, args=(listener, context, port, stopped))
        thread.start()
        try:
            yield TlsPort(listener.getsockname()[1], ca_file)
        finally:
            stopped.set()
            thread.join()


def _take(listener: socket.socket, context: ssl.SSLContext, port: int, stopped: Event) -> None:
    threads = []
    while not stopped.is_set():
        with suppress(TimeoutError):
            caller, _ = listener.accept()
            threads.append(Thread(target=_pass_on, args=(caller, context, port, stopped)))
            threads[-1].start()
    for thread in threads:
        thread.join()


def _pass_on(caller: socket.socket, context: ssl.SSLContext, port: int, stopped: Event) -> None:
    with caller, suppress(OSError):
        caller.settimeout(5)
        with context.wrap_socket(caller, server_side=True) as here, socket.create_connection((LOOPBACK, port)) as there:
            ways: dict[socket.socket, socket.socket] = {here: there, there: here}
            while not stopped.is_set():
                for side in select.select(list(ways), [], [], 0.1)[0]:
                    if not (data := side.recv(1 << 20)):
                        return
                    ways[side].sendall(data + (here.recv(here.pending()) if side is here and here.pending() else b""))
