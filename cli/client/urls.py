"""``questline urls``: where the running product answers."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from cli.client.running import addresses, require_servers, running_settings
from config.settings import Settings
from models.secrets import without_passwords

Name = StrEnum("Name", ["http", "grpc", "metrics", "flower", "database_url", "broker_url", "state_url"])


def urls(
    name: Annotated[
        Name | None, typer.Argument(help="Print only this address, bare, with its password: asking for it is asking.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    show_passwords: Annotated[bool, typer.Option("--show-passwords", help="Print passwords in place of ****.")] = False,
) -> None:
    """Print the addresses of the running product.

    For example: psql "$(questline urls database_url)"
    """
    settings = running_settings(Settings())
    require_servers(settings)
    found = addresses(settings)
    if name is not None:
        typer.echo(json.dumps({name.value: found[name.value]}) if as_json else found[name.value])
        return
    if not show_passwords:
        found = {key: without_passwords(value) for key, value in found.items()}
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            typer.echo(f"{key:<13} {value}")
