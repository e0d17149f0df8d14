"""An installation to be broken, in a folder of its own, on free ports.

It never touches another installation, whatever the environment says: no setting of the environment reaches it but the
challenges file. Its processes reach Redis and PostgreSQL through proxies that can cut a reply in two.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from signal import Signals
from urllib.parse import urlsplit

from cli.client.data_folder import DataFolder
from cli.client.ports import free_port
from config.settings import Settings
from migrations.runner import migrate
from models.database.connection import connect_database
from models.database.partitions import prepare_database
from models.errors import ServiceFailedError
from models.failpoints import TAKEN
from models.state.connection import connect_state
from tools.chaos.parts import SPARE, chaos_environment, chaos_programs
from tools.chaos.processes import send
from tools.chaos.proxy import CuttingProxy
from tools.chaos.replica import REPLICA, Replica
from tools.local import programs as named
from tools.local.readiness import WorkerPing, http_fault
from tools.local.servers.selection import Servers
from tools.local.signals import Interrupts
from tools.local.supervision import State, Supervisor

_READY_S = 90.0
_POLL_S = 0.1
_STOP_S = 10.0


class Installation:
    """A running installation; made by ``running_installation``."""

    def __init__(self, folder: Path, challenges_file: Path, interrupts: Interrupts) -> None:
        self.folder = folder
        self.failpoints = folder / "failpoints"
        self.failpoints.mkdir(parents=True)
        self.interrupts = interrupts
        self._data = DataFolder(folder / "data")
        self._data.prepare()
        ports: list[int] = []
        while len(ports) < 4:
            ports.append(free_port(taken=ports))
        chosen = dict(zip(("http_port", "grpc_port", "metrics_port", "flower_port"), ports, strict=True))
        # model_construct: the defaults, and nothing of the environment.
        given = Settings.model_construct(
            None, questline_data_dir=self._data.path, challenges_file=challenges_file, **chosen
        )
        self._servers = Servers(given, self._data)
        self.settings = self._servers.settings
        """With the servers' own addresses, past the proxies."""
        self.redis = connect_state(self.settings.state, socket_timeout=2)
        self.redis_proxy = CuttingProxy(int(urlsplit(self.settings.state).port or 0))
        self.postgres_proxy = CuttingProxy(self.settings.db_port)
        self.replica = Replica(folder, self.settings.state, self._servers.programs[0].command[0])
        self._programs = [*chaos_programs(self.settings, folder), self.replica.program]
        self.workers = {
            program.name: program.command[-1]
            for program in self._programs
            if program.name.startswith(named.SHARD_WORKER)
        }
        """The shards of each shard worker."""
        self.at_risk: set[str] = set()
        """Ids of events that a store had, and no other, when it was taken back to a time before them."""
        self.wanted: set[str] = set()
        """The programs that must run; whatever else happens, they are started again."""
        self._supervisor = Supervisor(self._data, [*self._servers.programs, *self._programs])

    def start(self) -> None:
        """Start everything and return when all of it answers.

        Raises:
            ServiceFailedError: something does not start.
            StoppedError: a stop was asked for meanwhile.
        """
        self.redis_proxy.start()
        self.postgres_proxy.start()
        self._supervisor.launch(
            chaos_environment(
                self.settings,
                self._servers.environment(),
                redis_port=self.redis_proxy.port,
                postgres_port=self.postgres_proxy.port,
                failpoints=self.failpoints,
            )
        )
        self.want(*(program.name for program in self._servers.programs))
        for label, fault, patience_s in self._servers.readiness_checks():
            self.wait(label, fault, patience_s)
        self._servers.complete()
        engine = connect_database(self.settings.database_url, application="questline-chaos")
        migrate(engine)
        prepare_database(engine, self.settings)
        engine.dispose()
        self.want(*(program.name for program in self._programs if program.name not in (*SPARE, REPLICA)))
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the receiver and every worker answer.

        Raises:
            ServiceFailedError, StoppedError: see ``start``.
        """
        self.wait("the receiver", partial(http_fault, self.settings), _READY_S)
        expected = len(self.workers) + 1
        with closing(WorkerPing(self.settings)) as ping:
            self.wait("the workers", lambda: None if len(ping.answering(expected)) >= expected else "not all", _READY_S)

    def wait(self, what: str, fault: Callable[[], str | None], patience_s: float) -> None:
        """Wait until a question has no fault to tell, keeping up what must run.

        Raises:
            ServiceFailedError: it took longer than ``patience_s`` seconds.
            StoppedError: a stop was asked for meanwhile.
        """
        deadline = time.monotonic() + patience_s
        while (reason := fault()) is not None:
            if time.monotonic() > deadline:
                raise ServiceFailedError(f"{what} did not get ready in {patience_s:.0f} s: {reason}")
            self.keep_up()
            self.interrupts.pause(_POLL_S)

    def states(self) -> dict[str, State]:
        """Every program by its name."""
        return self._supervisor.states()

    def pid(self, name: str) -> int:
        """The first process of a program; 0 where none is there."""
        return self.states()[name].pid

    def signal(self, name: str, number: Signals) -> bool:
        """Send a signal to a program's first process only; whether one was there."""
        return send(self.pid(name), number)

    def want(self, *names: str) -> None:
        """Start programs, and keep them up."""
        self.wanted |= {*names}
        self._supervisor.start(*names)

    def begin(self, *names: str) -> None:
        """Start programs that may end."""
        self._supervisor.start(*names)

    def unwant(self, *names: str) -> None:
        """Stop programs in order, and keep them down."""
        self.wanted -= {*names}
        self._supervisor.stop(*names)

    def keep_up(self) -> None:
        """Start again what the supervisor gave up, since it died too often to its taste."""
        down = [state.name for state in self.states().values() if state.state in {"FATAL", "EXITED", "STOPPED"}]
        self._supervisor.start(*(name for name in down if name in self.wanted))

    def ended_by_themselves(self) -> Counter[str]:
        """How often each process of the product ended without being killed or stopped."""
        names = "|".join(re.escape(program.name) for program in self._programs if not program.runs_once)
        ended = re.findall(rf"exited: ({names}) \(exit status", self._data.supervisor_log.read_text(errors="replace"))
        return Counter(ended)

    def arm(self, failpoint: str, action: str) -> None:
        """Lay out a failpoint, which the first process to reach it takes."""
        (self.failpoints / (failpoint + TAKEN)).unlink(missing_ok=True)
        beside = self.failpoints / f".{failpoint}.new"
        beside.write_text(action)
        beside.rename(self.failpoints / failpoint)

    def disarm(self, failpoint: str) -> bool:
        """Take a failpoint back; whether a process had taken it."""
        (self.failpoints / failpoint).unlink(missing_ok=True)
        return (self.failpoints / (failpoint + TAKEN)).exists()

    def close(self) -> None:
        """End everything: nothing of it is left but the folder."""
        self._supervisor.close(_STOP_S)
        self.redis_proxy.close()
        self.postgres_proxy.close()
        self.redis.close()


@contextmanager
def running_installation(folder: Path, challenges_file: Path, interrupts: Interrupts) -> Iterator[Installation]:
    """An installation that runs while the ``with`` lasts; the folder, which must be empty, stays.

    Raises:
        ServiceFailedError: it did not start.
        StoppedError: a stop was asked for meanwhile.
    """
    with ExitStack() as stack:
        installation = Installation(folder, challenges_file, interrupts)
        stack.callback(installation.close)
        installation.start()
        yield installation
