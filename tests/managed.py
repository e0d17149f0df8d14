"""The tests on servers as managed services give them: ``python -m tests.managed [what pytest takes]``.

Debian's redis-server with Sentinels, and its PostgreSQL behind a pgbouncer in transaction mode, all of them by TLS with
certificates that trustme makes. PostgreSQL takes no plain text, and has defaults that nobody would want.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGINT
from typing import NamedTuple

import psycopg2
import trustme

from tests.poolers import pooled
from tests.servers import wait_until
from worker.services.ports import free_port

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
SENTINEL_TESTS = ("test_wiring.py", "test_receiver_process.py", "test_flushing.py", "test_applying.py")


class Certificates(NamedTuple):
    """The files of an authority and of a server's certificate for this machine, readable by every server."""

    authority: Path
    chain: Path
    key: Path


def main() -> int:
    """Start the servers, run pytest on them, and return its exit code; 0 with a reason where a server is missing."""
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
            "TEST_STATE_URL": redis,
            "TEST_DATABASE_URL": through,
            "TEST_DIRECT_DATABASE_URL": direct,
            "SSL_CERT_FILE": str(certificates.authority),
        }
        return _pytest(told, sys.argv[1:] or ["tests/integration"])


def _pytest(told: dict[str, str], arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", "--timeout=300", *arguments]
    return subprocess.run(command, env=os.environ | told, check=False).returncode


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
        "fsync": "off",
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
        _does(boss, "CREATE DATABASE tests OWNER tester")
        yield f"postgresql://tester:secret@127.0.0.1:{port}/tests?{options}"


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
        yield through


@contextmanager
def _redis(folder: Path, certificates: Certificates) -> Iterator[str]:
    port = free_port()
    tls = ["--tls-port", str(port), "--port", "0", "--tls-auth-clients", "no", "--tls-ca-cert-file"]
    tls += [str(certificates.authority), "--tls-cert-file", str(certificates.chain)]
    tls += ["--tls-key-file", str(certificates.key)]
    kept = ["--save", "", "--appendonly", "yes", "--dir", str(folder / "redis"), "--bind", "127.0.0.1"]
    (folder / "redis").mkdir()
    _give_away(folder / "redis")
    with _running(["redis-server", *tls, *kept, "--requirepass", "secret"], folder / "redis.log"):
        yield f"rediss://:secret@127.0.0.1:{port}/0"


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
