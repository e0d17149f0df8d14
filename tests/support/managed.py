"""The tests on servers as managed services give them: ``python -m tests.support.managed [what pytest takes]``.

Debian's redis-server with Sentinels, and its PostgreSQL behind a pgbouncer in transaction mode, all of them by TLS with
certificates that trustme makes. PostgreSQL takes no plain text, and has odd defaults.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from typing import NamedTuple

import psycopg2
import trustme

from cli.client.ports import free_port
from tests.support.poolers import pooled
from tests.support.servers import wait_until

HOSTILE = {
    "timezone": "America/St_Johns",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "array_nulls": "off",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "60s",
}
WANTED = {"redis-server": "redis-server", "redis-sentinel": "redis-sentinel", "pgbouncer": "pgbouncer"}
"""Programs, and the Debian packages that have them; PostgreSQL's are in no folder of the PATH."""
BY_SENTINELS = [
    f"tests/integration/test_{name}.py" for name in ("wiring", "receiver_process", "flushing", "applying", "hydration")
]
"""Tests that go through the Sentinels. All others are told where the master is: many of them talk to it themselves."""


class Certificates(NamedTuple):
    """The files of an authority and of a server's certificate for this machine, readable by every server."""

    authority: Path
    chain: Path
    key: Path


def main() -> int:
    """Start the servers, run pytest on them, and return its exit code; 0 with a reason where a server is missing."""
    signal(SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # the servers are stopped then, too
    postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    missing = [package for program, package in WANTED.items() if shutil.which(program, path=_path()) is None]
    missing += [] if postgres else ["postgresql"]
    if missing:
        print(f"skipped: install these first (Debian: apt install {' '.join(missing)})")
        return 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="questline-managed-")))
        folder.chmod(0o755)
        certificates = _certificates(folder)
        direct = stack.enter_context(_postgres(folder, postgres[0].parent, certificates))
        through = stack.enter_context(_pooler(direct, certificates))
        redis = stack.enter_context(_redis(folder, certificates))
        told = {
            "TEST_DATABASE_URL": through,
            "TEST_DIRECT_DATABASE_URL": direct,
            "SSL_CERT_FILE": str(certificates.authority),
        }
        by_master = _pytest(told | {"TEST_STATE_URL": redis.master}, sys.argv[1:] or ["tests/integration"])
        if sys.argv[1:]:
            return by_master
        return _pytest(told | {"TEST_STATE_URL": redis.sentinels}, BY_SENTINELS) or by_master


def _pytest(told: dict[str, str], arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "--timeout=300", *arguments]
    with subprocess.Popen(command, env=os.environ | told) as running:
        try:
            return running.wait()
        finally:
            running.terminate()


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def _certificates(folder: Path) -> Certificates:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = Certificates(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(files.authority)
    issued.private_key_pem.write_to_path(files.key)
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(files.chain, append=number > 0)
    files.key.chmod(0o600)
    _give_away(files.key)
    return files


def _give_away(path: Path) -> None:
    if os.geteuid() == 0:  # the servers do not run as root
        shutil.chown(path, "nobody")


def _user() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


@contextmanager
def _postgres(folder: Path, programs: Path, certificates: Certificates) -> Iterator[str]:
    data, port = folder / "postgres", free_port()
    data.mkdir(mode=0o700)
    _give_away(data)
    password = folder / "password"
    password.write_text("secret")
    initdb = [str(programs / "initdb"), "-D", str(data), "--username", "boss", "--auth", "scram-sha-256"]
    made = [*initdb, "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C"]
    subprocess.run(made, user=_user(), cwd="/", capture_output=True, check=True)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "ssl": "on",
        "ssl_cert_file": certificates.chain,
        "ssl_key_file": certificates.key,
        "max_connections": 200,
        **HOSTILE,
    }
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    options = f"sslmode=verify-full&sslrootcert={certificates.authority}"
    boss = f"postgresql://boss:secret@127.0.0.1:{port}/postgres?{options}"
    with _running([str(programs / "postgres"), "-D", str(data)], folder / "postgres.log"):
        wait_until(lambda: _does(boss, "CREATE ROLE tester LOGIN CREATEDB PASSWORD 'secret'"))
        _does(boss, "CREATE DATABASE questline_test OWNER tester")
        yield f"postgresql://tester:secret@127.0.0.1:{port}/questline_test?{options}"


def _does(url: str, statement: str) -> bool:
    try:
        connection = psycopg2.connect(url)
    except psycopg2.OperationalError:
        return False
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()
    return True


@contextmanager
def _pooler(direct: str, certificates: Certificates) -> Iterator[str]:
    tls = {
        "client_tls_sslmode": "require",
        "client_tls_cert_file": certificates.chain,
        "client_tls_key_file": certificates.key,
        "server_tls_sslmode": "verify-full",
        "server_tls_ca_file": certificates.authority,
    }
    with pooled(direct, **{name: str(value) for name, value in tls.items()}) as through:
        yield f"{through}?{direct.partition('?')[2]}"


class RedisUrls(NamedTuple):
    """The same Redis: its master itself, and by way of its Sentinels."""

    master: str
    sentinels: str


@contextmanager
def _redis(folder: Path, certificates: Certificates) -> Iterator[RedisUrls]:
    """A master, a replica and three Sentinels, which are in no hurry: a busy machine is no failover."""
    master, replica, *watching = (free_port(), free_port(), free_port(), free_port(), free_port())
    with ExitStack() as stack:
        _server(stack, folder / "master", master, certificates, "--appendonly", "yes")
        _server(stack, folder / "replica", replica, certificates, "--replicaof", f"127.0.0.1 {master}")
        for port in watching:
            _sentinel(stack, folder / f"sentinel-{port}", port, certificates, master)
        hosts = ",".join(f"127.0.0.1:{port}" for port in watching)
        wait_until(lambda: all(map(_listens, (master, replica, *watching))))
        yield RedisUrls(f"rediss://:secret@127.0.0.1:{master}/0", f"sentinels://:secret@{hosts}/questline/0")


def _server(stack: ExitStack, folder: Path, port: int, certificates: Certificates, *more: str) -> None:
    folder.mkdir()
    _give_away(folder)
    passwords = ["--requirepass", "secret", "--masterauth", "secret"]
    small = ["--save", "", "--repl-backlog-size", "16kb"]  # tests count the bytes that are in use
    command = ["redis-server", "--dir", str(folder), "--bind", "127.0.0.1", *small, *passwords, *more]
    stack.enter_context(_running([*command, *_tls(port, certificates)], folder.with_suffix(".log")))


def _sentinel(stack: ExitStack, folder: Path, port: int, certificates: Certificates, master: int) -> None:
    folder.mkdir()
    config = folder / "sentinel.conf"
    config.write_text(
        f"sentinel monitor questline 127.0.0.1 {master} 2\nsentinel auth-pass questline secret\n"
        "sentinel down-after-milliseconds questline 60000\n"
    )
    for path in (folder, config):
        _give_away(path)
    command = ["redis-sentinel", str(config), "--dir", str(folder), "--bind", "127.0.0.1"]
    stack.enter_context(_running([*command, *_tls(port, certificates)], folder.with_suffix(".log")))


def _tls(port: int, certificates: Certificates) -> list[str]:
    authority, chain, key = map(str, certificates)
    files = ["--tls-ca-cert-file", authority, "--tls-cert-file", chain, "--tls-key-file", key]
    return ["--port", "0", "--tls-port", str(port), *files, "--tls-auth-clients", "no", "--tls-replication", "yes"]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, user=_user(), cwd="/", stdout=output, stderr=output, start_new_session=True)
        try:
            yield
        finally:
            process.send_signal(SIGINT)
            process.wait(20)


if __name__ == "__main__":
    sys.exit(main())
