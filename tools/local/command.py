"""``questline up``: everything on this machine with one command, until Ctrl-C."""

from pathlib import Path

from cli.client.data_folder import DataFolder, read_json
from cli.client.ports import check_ports
from config.settings import Settings
from models.errors import ServiceFailedError
from tools.local.console import TerminalOutput
from tools.local.launcher import Product, Run
from tools.local.programs import product_programs
from tools.local.servers.selection import Servers
from tools.local.signals import Interrupts, StoppedError
from tools.local.supervision import stop_leftover
from web.server.tls import certificate_of


def up() -> None:
    """Start everything and keep it running until Ctrl-C.

    Valkey and PostgreSQL (where BROKER_URL and DB_HOST name none), migrations, receiver, workers, beat and
    Flower. Ports come from HTTP_PORT, GRPC_PORT, METRICS_PORT and FLOWER_PORT; data and logs are in
    QUESTLINE_DATA_DIR.
    """
    from web.authentication.authenticator import check_address  # noqa: PLC0415 - brings what --help does not need
    from worker.wiring import backlog, load_rulebook  # noqa: PLC0415 - brings what --help does not need

    settings = Settings()
    certificate_of(settings)
    load_rulebook(settings)  # faults in it are said here, in one line each, and not in the programs' logs
    data = DataFolder(settings.questline_data_dir)
    data.prepare()
    interrupts = Interrupts()
    with data.locked(), interrupts.caught(), TerminalOutput() as output:
        _end_leftover(data, output)
        check_ports(settings)
        output.show_status("preparing Redis and PostgreSQL")
        run = Run(
            data,
            Servers(settings, data),
            Product(product_programs(settings), backlog, check_address),
            output,
            interrupts,
        )
        _keep(run, data, output)


def _keep(run: Run, data: DataFolder, output: TerminalOutput) -> None:
    drain = False
    try:
        run.start()
        output.welcome(run.settings, data)
        run.watch()
    except StoppedError:
        drain = True
        output.say("stopping; Ctrl-C again to hasten")
    except ServiceFailedError:
        output.say("something failed; stopping everything")
        raise
    finally:
        run.stop(drain=drain)
        output.say("stopped")


def _end_leftover(data: DataFolder, output: TerminalOutput) -> None:
    """End what a killed ``questline up`` left, which ends by itself on Linux.

    Raises:
        ServiceFailedError: it does not end.
    """
    socket = read_json(data.run_file).get("socket")
    if socket is not None:
        output.show_status("waiting for the end of an earlier run that was killed")
        stop_leftover(Path(socket))
