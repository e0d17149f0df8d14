"""Redis servers as operators have them: with a user of an ACL, with TLS, with replicas and Sentinels, as a cluster.

All of them are real servers of this machine (``find_redis_servers``), stopped at the end::

    with redis_server(folder, "--cluster-enabled", "yes") as server: ...
    with tls_in_front(folder, server.port) as tls: connect_state(tls.url(":secret@"))
    with sentinel_group(folder) as group: Settings(broker_url=group.url)
    with sentinel_group(folder, program=Program(redis_server, issue_certificates(folder))) as group: ...
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

from cli.client.ports import LOOPBACK, free_port
from tests.support.servers import wait_until
from tools.local.discovery import find_redis_servers
from tools.local.unprivileged import child_command

PASSWORD = "secret"
ONCE = Retry(NoBackoff(), 0)
SERVICE = "questline"


@dataclass(frozen=True)
class Tls:
    """What a server needs to speak TLS, and its clients to trust it. The certificate is for 127.0.0.1 and localhost."""

    authority: Path
    chain: Path
    key: Path

    @property
    def options(self) -> list[str]:
        files = {"ca-cert": self.authority, "cert": self.chain, "key": self.key}
        told = [part for name, file in files.items() for part in (f"--tls-{name}-file", str(file))]
        return [*told, "--tls-auth-clients", "no", "--tls-replication", "yes"]


def issue_certificates(folder: Path) -> Tls:
    """New ones, in files of this folder."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", LOOPBACK)
    files = Tls(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(files.authority)
    issued.private_key_pem.write_to_path(files.key)
    issued.cert_chain_pems[0].write_to_path(files.chain)
    return files


@dataclass(frozen=True)
class Program:
    """Which server is started, and whether it speaks TLS and nothing else."""

    binary: Path = field(default_factory=lambda: find_redis_servers()[0].binary)
    tls: Tls | None = None

    def listens_at(self, port: int) -> list[str]:
        if self.tls is None:
            return ["--port", str(port)]
        return ["--port", "0", "--tls-port", str(port), *self.tls.options]

    def client(self, port: int, password: str | None) -> Redis:
        """A client without any of the product's code."""
        trust: dict[str, Any] = {} if self.tls is None else {"ssl": True, "ssl_ca_certs": str(self.tls.authority)}
        return Redis(host=LOOPBACK, port=port, password=password, socket_timeout=2, retry=ONCE, **trust)


@dataclass
class RedisProcess:
    """A server or a Sentinel."""

    port: int
    process: "subprocess.Popen[bytes]"
    program: Program

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@{LOOPBACK}:{self.port}/0"

    def client(self) -> Redis:
        return self.program.client(self.port, PASSWORD)

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

    def answers(self) -> bool:
        try:
            with self.program.client(self.port, None) as client:
                client.ping()
        except AuthenticationError:
            return True
        except RedisError:
            return False
        return True


def start_redis(folder: Path, *options: str, port: int | None = None, program: Program | None = None) -> RedisProcess:
    """A server that keeps nothing on disk, or with a configuration file as first option a Sentinel."""
    port, program = port or free_port(), program or Program()
    listens = [*program.listens_at(port), "--bind", LOOPBACK, "--dir", str(folder)]
    # A replica would wait five seconds for others that come.
    kept = ["--save", "", "--requirepass", PASSWORD, "--repl-diskless-sync-delay", "0"]
    is_sentinel = bool(options) and options[0].endswith(".conf")
    command = [*options, *listens] if is_sentinel else [*listens, *kept, *options]
    log_file = folder / f"redis-{port}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            child_command([str(program.binary), *command], stop=signal.SIGKILL), stdout=log, stderr=log
        )
    started = RedisProcess(port, process, program)
    try:
        wait_until(started.answers, message=log_file.read_text)
    except BaseException:
        started.end()
        raise
    return started


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
    program: Program
    servers: list[RedisProcess] = field(default_factory=list)
    sentinels: list[RedisProcess] = field(default_factory=list)

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        tls = self.program.tls
        scheme, trust = ("sentinel", "") if tls is None else ("sentinels", f"&ssl_ca_certs={tls.authority}")
        return f"{scheme}://:{PASSWORD}@{hosts}/{SERVICE}/0?sentinel_password={PASSWORD}{trust}"

    def start(self, *options: str, port: int | None = None) -> RedisProcess:
        return start_redis(self.folder, *options, port=port, program=self.program)

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
        back = self.servers[self.servers.index(old)] = self.start("--masterauth", PASSWORD, port=old.port)
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
def sentinel_group(
    folder: Path, *, replicas: int = 1, sentinels: int = 3, program: Program | None = None
) -> Iterator[SentinelGroup]:
    """Servers and Sentinels that have found each other."""
    group = SentinelGroup(folder, program or Program())
    with ExitStack() as stack:
        stack.callback(group.end)
        group.servers.append(group.start("--masterauth", PASSWORD))
        first = group.servers[0]
        for _ in range(replicas):
            group.servers.append(group.start("--masterauth", PASSWORD, "--replicaof", f"{LOOPBACK} {first.port}"))
        # A Sentinel looks for replicas at once, and then every ten seconds.
        wait_until(lambda: first.replicas() == replicas, message="no replica is in step")
        for number in range(sentinels):
            file = folder / f"sentinel-{number}.conf"
            quorum = sentinels // 2 + 1
            file.write_text(_SENTINEL.format(password=PASSWORD, service=SERVICE, port=first.port, quorum=quorum))
            group.sentinels.append(group.start(str(file), "--sentinel"))
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
