"""pgbouncer in front of a PostgreSQL, as managed services and larger installations have it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from cli.client.ports import free_port
from tests.support.servers import wait_until
from tools.local.servers.database_roles import postgres_fault

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer here (Debian: apt install pgbouncer)")


@contextmanager
def pooled(url: str, *, mode: str = "transaction", **settings: str) -> Iterator[str]:
    """The databases of a server by way of a pgbouncer in this pool mode, with its default settings.

    ``settings`` are pgbouncer's own, on top. The URL says nothing of TLS.
    """
    behind, port = make_url(url), free_port()
    with tempfile.TemporaryDirectory(prefix="questline-pooler-") as name:
        folder = Path(name)
        (folder / "users").write_text(f'"{behind.username}" "{behind.password}"\n')
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "pool_mode": mode,
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users",
            "server_tls_sslmode": "prefer",
            "max_client_conn": 500,
            **settings,
        }
        told = "".join(f"{name}={value}\n" for name, value in lines.items())
        server = f"host={behind.host} port={behind.port}"
        (folder / "pgbouncer.ini").write_text(f"[databases]\n* = {server}\n[pgbouncer]\n{told}")
        with _running(folder):
            in_front = behind.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
            wait_until(lambda: "refused" not in str(postgres_fault(in_front)), message=lambda: str(postgres_fault(url)))
            yield in_front


@contextmanager
def _running(folder: Path) -> Iterator[None]:
    command = [str(PGBOUNCER), str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:  # it refuses to run as root
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "nobody")
        command[1:1] = ["-u", "nobody"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()
