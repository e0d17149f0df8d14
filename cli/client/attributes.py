"""``questline attributes get|set USER``: a user's attributes."""

import json
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cli.client.http import call, user_url
from cli.client.running import running_settings
from cli.output import json_text, print_table
from config.settings import Settings
from models.errors import InvalidAttributesError

attributes = typer.Typer(help="Show or replace what rules know of a user.", no_args_is_help=True, add_completion=False)

_User = Annotated[str, typer.Argument(help="The user's id.")]
_Tenant = Annotated[str | None, typer.Option("--tenant", help="The tenant; AB_NAMESPACE or 'default' if not given.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the answer as it came.")]


@attributes.command("get")
def get_attributes(*, user: _User, tenant: _Tenant = None, as_json: _Json = False) -> None:
    """Show a user's attributes."""
    settings = running_settings(Settings())
    url = user_url(settings, user, tenant, "attributes")
    _show(call("GET", url, key=settings.api_key).result(url), as_json=as_json)


@attributes.command("set")
def set_attributes(
    *,
    user: _User,
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Numbers, true and false are taken as such; a text that looks like one is written '\"5\"'.",
        ),
    ] = None,
    tenant: _Tenant = None,
    as_json: _Json = False,
) -> None:
    """Put these attributes instead of all that the user had; without any: remove them all."""
    settings = running_settings(Settings())
    url = user_url(settings, user, tenant, "attributes")
    body = dict(_attribute(text) for text in given or ())
    _show(call("PUT", url, body, key=settings.api_key).result(url), as_json=as_json)


def _attribute(text: str) -> tuple[str, Any]:
    name, mark, value = text.partition("=")
    if not mark:
        raise InvalidAttributesError(f"{text} must be written KEY=VALUE")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, value if read is None or isinstance(read, dict | list) else read


def _show(known: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json_text(known, indent=2))
        return
    if not known:
        typer.echo("no attributes")
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("Attribute")
    table.add_column("Value")
    for name, value in known.items():
        table.add_row(Text(name), Text(json.dumps(value, ensure_ascii=False)))
    print_table(table)
