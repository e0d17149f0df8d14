"""``questline chaos``: break an installation, and prove that nothing was lost."""

import json
import shutil
import tempfile
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.output import progress_bars
from config.settings import Settings
from models.errors import ConfigurationError
from tools.local.signals import Interrupts, StoppedError

_SEEDS = 2**31


def chaos(
    *,
    minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="How long things are broken.")] = 10,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed draws the same faults and events.")] = None,
    rate: Annotated[float, typer.Option(min=1, help="Events sent a second, while the machine keeps up.")] = 100,
    only: Annotated[
        list[str] | None, typer.Option(help="Only faults whose names contain this, `redis-wiped` included.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep data and logs in this new folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Break an installation under load, and compare PostgreSQL with what was acknowledged; exit code 1 on any loss.

    It starts an installation of its own in a temporary folder, on free ports, and touches no other. A run that fails
    leaves the folder and says where.
    """
    from tools.chaos.run import Progress, Run, draw_steps  # noqa: PLC0415 - brings what --help does not need

    seed = SystemRandom().randrange(_SEEDS) if seed is None else seed
    steps = draw_steps(seed, 60 * minutes, only or [""])
    if not steps:
        raise ConfigurationError(f"--only {' '.join(only or [])}: no fault has such a name, or none is so short")
    typer.echo(f"questline: seed {seed}", err=True)
    folder = _folder(keep)
    interrupts = Interrupts()
    with interrupts.caught(), progress_bars() as bars:
        doing = bars.add_task("faults", total=len(steps))
        sending = bars.add_task("events", total=None)
        progress = Progress(
            doing=lambda what: bars.console.print(f"{what}", highlight=False),
            sent=lambda events: bars.advance(sending, events),
            broken=lambda _name: bars.advance(doing),
        )
        try:
            data = Run(seed, 60 * minutes, rate, steps).go(folder, Settings().challenges_file, interrupts, progress)
        except StoppedError:
            _leave(folder, keep=keep is not None)
            raise KeyboardInterrupt from None
        except BaseException:
            _leave(folder, keep=True)
            raise
    _say(data, as_json=as_json)
    _leave(folder, keep=keep is not None or not data["ok"])
    if not data["ok"]:
        raise typer.Exit(1)


def _folder(keep: Path | None) -> Path:
    """A new folder; /tmp rather than a longer path, for the supervisor's socket is in it."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="questline-chaos-"))
    try:
        keep.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise ConfigurationError(f"--keep {keep}: {error.strerror}") from error
    return keep.absolute()


def _leave(folder: Path, *, keep: bool) -> None:
    if keep:
        typer.echo(f"questline: data and logs are in {folder}", err=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _say(data: dict[str, Any], *, as_json: bool) -> None:
    from tools.chaos.report import as_table  # noqa: PLC0415 - brings what --help does not need

    if as_json:
        typer.echo(json.dumps(data, indent=2))
        return
    Console().print(as_table(data))
    for example in data["examples"]:
        typer.echo(f"questline: {example}", err=True)
