"""``questline shards``: the number of shards, on a live installation."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from cli.client.running import running_settings
from cli.installation.changes import changer
from config.settings import Settings
from models.installation.change import ChangeReport
from worker.logs import configure_logs

shards = typer.Typer(help="Change how many shards users are spread over.", no_args_is_help=True, add_completion=False)

_MOST = 1024


@shards.callback()
def _group() -> None:
    """Change how many shards users are spread over."""


@shards.command()
def resize(
    number: Annotated[int, typer.Argument(metavar="N", min=1, max=_MOST, help="How many shards there shall be.")],
    *,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait until PostgreSQL has everything.")] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Spread users over N shards; events are answered 503 for some seconds meanwhile, reading goes on.

    Cut off, it is finished by the same command, or given up by `questline shards give-up` while nothing has changed.
    """
    settings = running_settings(Settings())
    configure_logs("warning", process="shards")
    with changer(settings, patience_s=timeout) as change:
        report = change.resize({"SHARDS": str(number)})
    typer.echo(json.dumps(asdict(report)) if as_json else _said(report))


@shards.command("give-up")
def give_up() -> None:
    """Open an installation whose resize was cut off before anything had changed."""
    settings = running_settings(Settings())
    configure_logs("warning", process="shards")
    with changer(settings) as change:
        record = change.give_up()
    typer.echo(f"events are accepted, by {record.values['SHARDS']} shards")


def _said(report: ChangeReport) -> str:
    before, after = report.before["SHARDS"], report.after["SHARDS"]
    if before == after and not report.resumed:
        return f"there are {after} shards already; nothing to do"
    return (
        f"{after} shards, {before} before; events were not accepted for {report.paused_seconds:.1f} s, "
        f"{report.keys_dropped:,} keys of users dropped from Redis"
    )
