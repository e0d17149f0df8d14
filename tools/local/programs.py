"""The programs of one run as data, and the configuration of supervisord."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from cli.client.data_folder import DataFolder
from cli.client.running import web_host
from config.settings import Settings
from models.errors import ConfigurationError
from tools.local.unprivileged import Identity, child_command

MIGRATE = "migrate"
RECEIVER = "receiver"
BEAT = "beat"
MAINTENANCE = "maintenance"
FLOWER = "flower"

_RECEIVER_STOP_WAIT_S = 7
"""A second in which it says goodbye, and the grace for calls under way."""

_WORKER_STOP_WAIT_S = 10
"""A turn and one that waits behind it, which takes long where the machine is busy. `questline up` bounds the stop as a
whole."""

_PROVEN_AFTER_S = 5
"""A program that dies sooner has failed to start, and waits before it is started again; after a few such failures in a
row it is given up."""

_RECEIVER_FIRST_S = 6.0
"""So long others wait at most for the receiver to listen. Each start takes a second of a processor: where all begin at
once, nothing is accepted before all have come up."""

_HEAD = """\
; Written by `questline up` at every start. Passwords are in the environment, not here.
[supervisord]
nodaemon=true
silent=true
logfile={log}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={pidfile}
minfds=256
umask=077
{user}
[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command={command}
priority={priority}
autostart=false
autorestart={autorestart}
startsecs={startsecs}
startretries=3
stopsignal={stopsignal}
stopwaitsecs={stopwaitsecs}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


@dataclass(frozen=True)
class Program:
    """One program under the supervisor, which restarts it when it dies unless it ``runs_once``.

    Only its first process gets the stop signal: a Celery worker ends its pool itself, and a signal to the
    pool's processes would cut off the batch in their hands. SIGKILL, when ``stop_wait_s`` is over, goes to
    all.
    """

    name: str
    command: Sequence[str]
    stop_signal: Signals = Signals.SIGTERM
    stop_wait_s: int = 5
    runs_once: bool = False
    identity: Identity | None = None
    """Run as this user, where not as ourselves; ``{folder}`` in the command then stands for ``folder``."""
    folder: Path = Path()
    only: Sequence[str] | None = None
    """The names of the environment that it gets; all of them where not given."""
    without: Sequence[str] = ()
    """Names of the environment that it does not get."""
    after: tuple[str, int, float] | None = None
    """Not started before this host and port is open, for so many seconds at most."""


_STOP_WAITS_S = {RECEIVER: _RECEIVER_STOP_WAIT_S, MAINTENANCE: _WORKER_STOP_WAIT_S}

_FOR_OTHERS = ("API_KEY",)
"""Of the environment, what only client commands need."""

SHARD_WORKER = "worker-"


def shard_worker(number: int) -> str:
    """The name of a shard worker's program, counted from 0."""
    return f"{SHARD_WORKER}{number}"


def _stop_wait_s(name: str) -> int:
    if name.startswith(SHARD_WORKER):
        return _WORKER_STOP_WAIT_S
    return _STOP_WAITS_S.get(name, Program.stop_wait_s)


def product_programs(settings: Settings) -> list[Program]:
    """Questline's own programs in the order they are started, each a verb of the command line."""
    verbs: dict[str, list[str]] = {MIGRATE: ["migrate"], RECEIVER: ["receiver"]}
    for number in range(settings.shard_workers):
        verbs[shard_worker(number)] = ["worker"]
    receiver = (web_host(settings.http_host).strip("[]"), settings.http_port, _RECEIVER_FIRST_S)
    verbs |= {MAINTENANCE: ["worker", "--maintenance"], BEAT: ["beat"], FLOWER: ["flower"]}
    return [
        Program(
            name,
            [sys.executable, "-m", "cli", *verb],
            stop_wait_s=_stop_wait_s(name),
            runs_once=name == MIGRATE,
            without=_FOR_OTHERS if name == FLOWER else (*_FOR_OTHERS, "FLOWER_PASSWORD"),
            after=None if name in {MIGRATE, RECEIVER} else receiver,
        )
        for name, verb in verbs.items()
    ]


def supervisor_config(programs: Sequence[Program], data: DataFolder, socket: Path) -> str:
    """The text of ``supervisord.conf``. Programs are stopped in the reverse order should the supervisor end
    by itself.

    Raises:
        ConfigurationError: a path holds what the format cannot (`` ;``, `` #`` or a line break).
    """
    head = _HEAD.format(
        log=_value(data.supervisor_log),
        pidfile=_value(data.path / "supervisord.pid"),
        socket=_value(socket),
        user="user=root\n" if os.geteuid() == 0 else "",
    )
    return head + "".join(_section(program, rank, data) for rank, program in enumerate(programs, 1))


def _section(program: Program, rank: int, data: DataFolder) -> str:
    command = child_command(
        program.command,
        stop=program.stop_signal,
        identity=program.identity,
        folder=program.folder,
        only=program.only,
        without=program.without,
        parent="session",  # supervisord leads the session it is started in
        after=program.after,
    )
    return _PROGRAM.format(
        name=program.name,
        command=_value(" ".join(map(_quoted, command))),
        priority=rank,
        autorestart="false" if program.runs_once else "true",
        startsecs=0 if program.runs_once else _PROVEN_AFTER_S,
        stopsignal=program.stop_signal.name.removeprefix("SIG"),
        stopwaitsecs=program.stop_wait_s,
        log=_value(data.logs / f"{program.name}.log"),
    )


def _quoted(part: str) -> str:
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(text: str | Path) -> str:
    if re.search(r"\s[;#]|[\r\n]", str(text)):
        raise ConfigurationError(f"{str(text)!r} holds ' ;', ' #' or a line break: choose another path")
    return str(text).replace("%", "%%")
