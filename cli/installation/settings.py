"""``questline settings``: the settings that all processes share."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from cli.client.running import require_servers, running_settings
from cli.installation.changes import changer
from config.durations import parse_duration
from config.settings import Settings
from config.shared_settings import NOT_SET, SHARED, shared_values, with_shared_values
from models.errors import PermanentError
from models.installation.agreement import shown
from models.installation.change import Changer
from models.installation.joining import known_record
from worker.logs import configure_logs

settings = typer.Typer(
    help="Show or change the settings that all processes share.", no_args_is_help=True, add_completion=False
)

_OFF = "off"
_Json = Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")]


@settings.command()
def show(*, as_json: _Json = False) -> None:
    """Show the installation's record: what its processes go by, and a change under way."""
    given = running_settings(Settings())
    require_servers(given)
    record = known_record(given)
    if record is None:
        raise PermanentError("this installation has no record of its settings yet: run `questline migrate`")
    if as_json:
        typer.echo(json.dumps(asdict(record)))
        return
    for name, value in record.values.items():
        former = ", ".join(map(shown, record.former.get(name, ())))
        typer.echo(f"{name:<16} {shown(value):<10}{f'  before: {former}' if former else ''}")
    typer.echo(f"installation {record.installation_id}, revision {record.revision}")
    if record.change is not None:
        wanted = ", ".join(f"{name}={value}" for name, value in record.change.values.items())
        typer.echo(f"a change to {wanted} is under way: {record.change.step}")


@settings.command("set")
def set_setting(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(SHARED)}.")],
    value: Annotated[str, typer.Argument(help="Its new value; off for EVENT_RETENTION to keep everything.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Let EVENT_RETENTION drop what is older now.")] = False,
    as_json: _Json = False,
) -> None:
    """Change a setting for every process; those that run end within seconds, to be started again by the new value."""
    given = running_settings(Settings())
    configure_logs("warning", process="settings")
    name = name.upper()
    if name not in SHARED:
        raise typer.BadParameter(f"{name} is none of {', '.join(SHARED)}", param_hint="NAME")
    if name == "SHARDS":
        raise PermanentError(f"users must be moved: `questline shards resize {value}` does that")
    with changer(given) as change:
        report = _set(change, name, _canonical(given, change, name, value), yes=yes)
    typer.echo(
        json.dumps(report) if as_json else f"{name} is {shown(report['value'])}, {shown(report['before'])} before"
    )


def _set(change: Changer, name: str, value: str, *, yes: bool) -> dict[str, str]:
    before = change.values()[name]
    if name == "MAX_LATENESS":
        if before != value:  # else a change that was cut off may have to be finished
            _require_stopped(change, before, value)
        change.resize({name: value})
    else:
        if name == "EVENT_RETENTION" and _is_shorter(value, before) and not yes:
            raise PermanentError(f"events older than {value} are dropped within the hour, for good: add --yes")
        change.set_value(name, value)
    return {"name": name, "value": value, "before": before}


def _canonical(given: Settings, change: Changer, name: str, value: str) -> str:
    wanted = {**change.values(), name: NOT_SET if value == _OFF and name == "EVENT_RETENTION" else value}
    return shared_values(with_shared_values(given, wanted))[name]


def _require_stopped(change: Changer, before: str, value: str) -> None:
    """Ids are remembered by the length of this window: two processes with different ones would count events twice."""
    if parse_duration(value) > parse_duration(before):
        raise PermanentError(
            f"MAX_LATENESS cannot be raised from {before} to {value}: what late events would need, of past periods and "
            "former rules, was let go as it got older than that"
        )
    alive = change.presence.alive()
    if alive:
        raise PermanentError(
            f"{len(alive)} processes run, such as {alive[0].name}: MAX_LATENESS can only be changed while none does"
        )


def _is_shorter(value: str, before: str) -> bool:
    if value == NOT_SET:
        return False
    return before == NOT_SET or parse_duration(value) < parse_duration(before)
