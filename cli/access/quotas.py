"""``questline quotas``: what tenants and keys may send. Works on PostgreSQL."""

import re
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from cli.client.running import running_settings
from cli.database import open_database
from cli.output import json_text, print_table
from config.settings import Settings
from models.access.quotas import Quota, of_key, of_tenant
from models.database.api_keys import read_keys
from models.database.quotas import drop_quota, read_quotas, write_quota
from models.errors import PermanentError

quotas = typer.Typer(help="How much tenants and keys may send.", no_args_is_help=True, add_completion=False)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_read_size = TypeAdapter(ByteSize).validate_python

_Tenant = Annotated[str | None, typer.Option(help="The tenant it is for.")]
_Key = Annotated[str | None, typer.Option(help="The key it is for, by its id, which `questline keys list` shows.")]


@quotas.callback()
def _group() -> None:
    """How much tenants and keys may send: a tenant that is not listed what QUOTA_EVENTS and QUOTA_BYTES say."""


@quotas.command("set")
def set_quota(
    *,
    tenant: _Tenant = None,
    key: _Key = None,
    events: Annotated[int | None, typer.Option(min=0, help="Events a second; 0 for no bound.")] = None,
    size: Annotated[str | None, typer.Option("--bytes", help="Bytes a day, such as 10GiB; 0 for no bound.")] = None,
) -> None:
    """Give a tenant or a key a quota; what is not given is that of the settings. Receivers take it within 2 s."""
    quota = Quota(events, None if size is None else _bytes(size))
    if quota == Quota():
        raise typer.BadParameter("give --events, --bytes, or both")
    owner = _owner(tenant, key)
    with _database() as engine:
        if key and key not in {row.key.key_id for row in read_keys(engine)}:
            raise PermanentError(f"there is no key {key}: `questline keys list` shows those there are")
        write_quota(engine, owner, quota)
    typer.echo(f"{owner}: {_shown(quota.events_per_second)} events a second, {_shown(quota.bytes_per_day)} bytes a day")


@quotas.command()
def unset(*, tenant: _Tenant = None, key: _Key = None) -> None:
    """Let the settings hold for a tenant or a key again."""
    owner = _owner(tenant, key)
    with _database() as engine:
        known = drop_quota(engine, owner)
    typer.echo(f"{owner}: as the settings say" if known else f"{owner} had no quota of its own")


@quotas.command("list")
def list_quotas(*, as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON list.")] = False) -> None:
    """Show every quota that differs from the settings."""
    with _database() as engine:
        found = read_quotas(engine)
    if as_json:
        typer.echo(json_text([_facts(owner, quota) for owner, quota in found.items()], indent=2))
    elif not found:
        typer.echo("every tenant has the quota of the settings")
    else:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for title in ("Of", "Events a second", "Bytes a day"):
            table.add_column(title, overflow="fold")
        for owner, quota in found.items():
            table.add_row(*map(Text, (owner, _shown(quota.events_per_second), _shown(quota.bytes_per_day))))
        print_table(table)


def _database() -> AbstractContextManager[Engine]:
    return open_database(running_settings(Settings()), "questline-quotas")


def _owner(tenant: str | None, key: str | None) -> str:
    name = tenant or key
    if name is None or (tenant and key) or not _NAME.fullmatch(name):
        raise typer.BadParameter("give --tenant or --key, of the characters A-Z a-z 0-9 . _ -")
    return of_tenant(name) if tenant else of_key(name)


def _bytes(text: str) -> int:
    try:
        return int(_read_size(text))
    except ValidationError as error:
        raise typer.BadParameter("must be a size such as 500MiB or 10GiB", param_hint="--bytes") from error


def _shown(bound: int | None) -> str:
    if bound is None:
        return "as the settings say"
    return f"{bound:,}" if bound else "no bound"


def _facts(owner: str, quota: Quota) -> dict[str, Any]:
    kind, _, name = owner.partition(":")
    return {kind: name, **quota._asdict()}
