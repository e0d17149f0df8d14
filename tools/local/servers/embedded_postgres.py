"""The embedded PostgreSQL: its data folder and its command line.

``initdb`` makes an administrator's role of our own, which makes the product's
(``tools/local/servers/database_roles.py``).
TCP on the loopback interface only: no unix socket, whose path could grow too long.
"""

import os
import shutil
import subprocess
from pathlib import Path
from signal import Signals

from cli.client.data_folder import DataFolder, write_private
from cli.client.ports import LOOPBACK
from models.errors import ServiceFailedError
from tools.local.discovery import Server, choose_postgres, find_postgres_servers
from tools.local.unprivileged import SERVER_ENVIRONMENT, Identity, child_command, reachable_server, server_identity

ADMINISTRATOR = "questline_administrator"
_INITDB_TIMEOUT_S = 120
# Rows are updated every second: with rare checkpoints a page is written to the log in full once, not again and again.
_TUNING = {"max_wal_size": "2GB", "checkpoint_timeout": "15min", "shared_buffers": "256MB"}


class EmbeddedPostgres:
    """A prepared server: ``command`` starts it, as ``identity`` and with ``folder`` for ``{folder}``."""

    stop_signal = Signals.SIGINT
    """PostgreSQL's "fast" shutdown: sessions are ended, data is written. SIGTERM would wait for the
    sessions."""

    def __init__(self, server: Server, folder: Path, port: int, identity: Identity | None) -> None:
        self.server = server
        self.port = port
        options = {"listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": "", **_TUNING}
        self.identity = identity
        self.folder = folder
        self.command = [str(server.binary), "-D", "{folder}/data"]
        self.command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]


def prepare_postgres(data: DataFolder, *, port: int) -> EmbeddedPostgres:
    """Choose a server that can open the data, and make the data where there is none yet (about a second).

    Raises:
        ServiceFailedError: there is no server for this data or user, or ``initdb`` failed.
    """
    folder = data.path / "postgres"
    identity = server_identity(folder)
    try:
        major = int((folder / "data" / "PG_VERSION").read_text().split(".")[0])
    except FileNotFoundError:
        major = None
    server = reachable_server(choose_postgres(find_postgres_servers(), major), identity)
    if major is None:
        _make_data(server, folder, data.secret("db_administrator_password"), identity)
    return EmbeddedPostgres(server, folder, port, identity)


def administrator_url(data: DataFolder, port: int) -> str:
    """Where the embedded server takes its administrator."""
    return f"postgresql://{ADMINISTRATOR}:{data.secret('db_administrator_password')}@{LOOPBACK}:{port}/postgres"


def _make_data(server: Server, folder: Path, password: str, identity: Identity | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    password_file = folder / "password"
    write_private(password_file, password)
    if identity is not None:
        for path in (folder, password_file):
            os.chown(path, identity.uid, identity.gid)
    command = [
        str(server.binary.with_name("initdb")), "-D", "{folder}/data.new", "--pwfile", "{folder}/password",
        "--username", ADMINISTRATOR, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
    ]  # fmt: skip
    try:
        shutil.rmtree(folder / "data.new", ignore_errors=True)  # of a run that was killed in the middle
        result = subprocess.run(
            child_command(
                command, stop=Signals.SIGTERM, identity=identity, folder=folder, only=SERVER_ENVIRONMENT
            ),
            capture_output=True, text=True, timeout=_INITDB_TIMEOUT_S, check=False,
            start_new_session=True,  # a Ctrl-C is ours to handle
        )  # fmt: skip
    finally:
        password_file.unlink(missing_ok=True)
    if result.returncode != 0:
        raise ServiceFailedError(f"initdb of {server.label} failed: {result.stderr.strip() or result.stdout.strip()}")
    (folder / "data.new").rename(folder / "data")
