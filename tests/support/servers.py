"""Real servers for tests: those named by TEST_STATE_URL and TEST_DATABASE_URL, else embedded ones of this run."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM

from cli.client.data_folder import DataFolder
from cli.client.ports import free_port
from config.settings import Settings
from models.errors import ServiceFailedError
from models.state.checks.requirements import redis_fault
from tools.local.servers.database_roles import ensure_database, postgres_fault
from tools.local.servers.embedded_postgres import administrator_url, prepare_postgres
from tools.local.servers.embedded_redis import prepare_redis
from tools.local.unprivileged import child_command


def wait_until(condition, *, seconds=20.0, message="condition not met"):
    """Wait for another process; the only place in the tests that sleeps."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(message() if callable(message) else message)
        time.sleep(0.02)


@contextmanager
def embedded_redis(folder: Path) -> Iterator[str]:
    """A Redis or Valkey of our own; yields its URL."""
    data = DataFolder(folder)
    data.prepare()
    server = prepare_redis(data, taken=set())
    with _running(child_command(server.command, stop=SIGTERM), folder / "redis.log"):
        wait_until(lambda: redis_fault(server.url) is None, message=lambda: str(redis_fault(server.url)))
        yield server.url


@contextmanager
def embedded_postgres(folder: Path, *, makes: bool = True) -> Iterator[str]:
    """A PostgreSQL of our own; yields the URL of a database, which it ``makes`` unless it is there."""
    data = DataFolder(folder)
    data.prepare()
    port = free_port()
    server = prepare_postgres(data, port=port)
    url = f"postgresql://tester:secret@127.0.0.1:{port}/questline_test"
    command = child_command(server.command, stop=server.stop_signal, identity=server.identity, folder=server.folder)
    with _running(command, folder / "postgres.log"):
        wait_until(lambda: not makes or _made(administrator_url(data, port)))
        wait_until(lambda: postgres_fault(url) is None, message=lambda: str(postgres_fault(url)))
        yield url


def _made(administrator: str) -> bool:
    try:
        ensure_database(administrator, Settings(db_user="tester", db_password="secret", db_name="questline_test"))
    except ServiceFailedError:
        return False
    return True


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield
        finally:
            process.send_signal(SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def given(name: str) -> str | None:
    """A server named by the environment."""
    return os.environ.get(name) or None
