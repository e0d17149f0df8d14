"""``questline urls``: where the running product answers."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from config.settings import Settings
from worker.services.running import addresses, require_servers, running_settings

Name = StrEnum("Name", ["http", "grpc", "metrics", "flower", "database_url", "broker_url", "state_url"])


def urls(
    name: Annotated[Name | None, typer.Argument(help="Print only this address, bare.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the addresses of the running product; they hold its passwords.

    For example: psql "$(questline urls database_url)"
    """
    settings = running_settings(Settings())
    require_servers(settings)
    found = addresses(settings)
    if name is not None:
        typer.echo(json.dumps({name.value: found[name.value]}) if as_json else found[name.value])
    elif as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            typer.echo(f"{key:<13} {value}")
