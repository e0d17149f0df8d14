"""A Redis and a PostgreSQL that stay up between test runs: ``python -m tests.support.standing_servers start|stop``.

``make test-integration-setup`` starts them, ``make test-integration-run`` uses them as often as is wanted, and
``make test-integration-teardown`` stops them. Their addresses are in ``.test-servers/environment``.
"""

import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from signal import SIG_BLOCK, SIGTERM, pthread_sigmask, sigwait

import psutil

from tests.support.servers import embedded_postgres, embedded_redis, wait_until

FOLDER = Path(".test-servers")
ENVIRONMENT = FOLDER / "environment"
PID = FOLDER / "pid"


def start() -> None:
    """Start both and return when they answer; does nothing where they run already."""
    if _keeper() is not None:
        return
    rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with (FOLDER / "keeper.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.support.standing_servers", "keep"]
        keeper = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    PID.write_text(str(keeper.pid))
    wait_until(lambda: ENVIRONMENT.exists() or keeper.poll() is not None, seconds=60)
    if not ENVIRONMENT.exists():
        sys.exit((FOLDER / "keeper.log").read_text())


def stop() -> None:
    """Stop both and delete what they held."""
    keeper = _keeper()
    if keeper is not None:
        keeper.send_signal(SIGTERM)
        psutil.wait_procs([keeper], timeout=30)
    rmtree(FOLDER, ignore_errors=True)


def keep() -> None:
    """Be the process that holds both until SIGTERM."""
    pthread_sigmask(SIG_BLOCK, {SIGTERM})
    for name in ("redis", "postgres"):
        (FOLDER / name).mkdir()
    with embedded_redis(FOLDER / "redis") as state, embedded_postgres(FOLDER / "postgres") as database:
        told = FOLDER / "told"
        told.write_text(f"TEST_STATE_URL={state}\nTEST_DATABASE_URL={database}\n")
        told.rename(ENVIRONMENT)
        sigwait({SIGTERM})


def _keeper() -> psutil.Process | None:
    """The process that holds them, if it is still that one."""
    try:
        process = psutil.Process(int(PID.read_text()))
        return process if "tests.support.standing_servers" in process.cmdline() else None
    except (OSError, psutil.Error):
        return None


if __name__ == "__main__":
    {"start": start, "stop": stop, "keep": keep}[sys.argv[1]]()
