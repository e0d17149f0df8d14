"""``questline keys``: API keys. Works on PostgreSQL; no receiver is needed."""

import json
import re
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from cli.client.running import running_settings
from cli.database import open_database
from cli.output import json_text, print_table
from config.durations import parse_duration
from config.settings import Settings
from models.access.api_keys import NewKey
from models.access.callers import ALL_TENANTS, Scope
from models.database.api_keys import KeyRow, Rights, create_key, read_keys, revoke_key, rotate_key
from models.rules.calendar import microseconds

keys = typer.Typer(help="Create, rotate and revoke API keys.", no_args_is_help=True, add_completion=False)

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")

_Json = Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")]
_KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, which `questline keys list` shows.")]
_Expires = Annotated[str | None, typer.Option(help="How long it is valid, such as 90d; for ever if not given.")]


@keys.callback()
def _group() -> None:
    """Create, rotate and revoke API keys."""


@keys.command()
def create(
    *,
    tenant: Annotated[str, typer.Option(help="The tenant it is for; '*' for an operator of all tenants.")],
    scope: Annotated[
        Scope, typer.Option(help="ingest sends events, read reads progress, admin does both and operates.")
    ],
    note: Annotated[str | None, typer.Option(help="Who has it, for people to read.")] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Requests a second; RATE_LIMIT if not given.")] = None,
    expires: _Expires = None,
    as_json: _Json = False,
) -> None:
    """Make a key, and print it: this once, only its hash is kept."""
    if tenant != ALL_TENANTS and not _TENANT.fullmatch(tenant):
        raise typer.BadParameter("must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, or '*'", param_hint="--tenant")
    lifetime = _length(expires, "--expires")
    with _database() as engine:
        made, row = create_key(engine, Rights(tenant, scope, note, rate), lifetime)
    _show_new(made, row, as_json=as_json)


@keys.command()
def rotate(
    *,
    key_id: _KeyId,
    grace: Annotated[str, typer.Option(help="How long the old key stays valid.")] = "24h",
    expires: Annotated[
        str | None, typer.Option(help="How long the new one is valid; as long as the old one was if not given.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Make a key of the same rights, and print it; the old one stays valid for the grace."""
    length, lifetime = _length(grace, "--grace"), _length(expires, "--expires")
    with _database() as engine:
        made, row = rotate_key(engine, key_id, length or timedelta(), lifetime)
    _show_new(made, row, as_json=as_json)
    _say(f"the old key {key_id} ends in {grace}, or when it would have ended anyway")


@keys.command()
def revoke(*, key_id: _KeyId) -> None:
    """End a key at once: receivers refuse it within 2 s."""
    with _database() as engine:
        row = revoke_key(engine, key_id)
    _say(f"{row.key.key_id} of {row.key.tenant_id} is revoked")


@keys.command("list")
def list_keys(*, as_json: _Json = False) -> None:
    """Show every key there ever was, without secrets."""
    with _database() as engine:
        rows = read_keys(engine)
    now = datetime.now(UTC)
    if as_json:
        typer.echo(json_text([_facts(row, now) for row in rows], indent=2))
    elif not rows:
        typer.echo("there are no keys: everybody on this machine is let in")
    else:
        print_table(_table([_facts(row, now) for row in rows]))


def _database() -> AbstractContextManager[Engine]:
    return open_database(running_settings(Settings()), "questline-keys")


def _length(text: str | None, option: str) -> timedelta | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _show_new(made: NewKey, row: KeyRow, *, as_json: bool) -> None:
    """The key alone goes to standard output, for a script to take it."""
    if as_json:
        typer.echo(json.dumps({"key": made.text, **_facts(row, row.created_at)}, ensure_ascii=False))
        return
    typer.echo(made.text)
    _say(f"key {made.key_id}, {row.key.scope} in {row.key.tenant_id}; it is shown this once, keep it where secrets are")
    _say("it is valid within 2 s, and every request needs a key from then on")
    if row.expires_at is not None:
        _say(f"it expires at {_text(row.expires_at)}")


def _say(line: str) -> None:
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


def _facts(row: KeyRow, now: datetime) -> dict[str, Any]:
    key = row.key
    return {
        "id": key.key_id,
        "tenant": key.tenant_id,
        "scope": key.scope,
        "state": _state(row, now),
        "rate": key.rate_limit,
        "created_at": _text(row.created_at),
        "expires_at": _text(row.expires_at),
        "last_used_at": _text(row.last_used_at),
        "note": row.note,
    }


def _state(row: KeyRow, now: datetime) -> str:
    if row.key.fault(microseconds(now)) is None:
        return "active"
    return "expired" if row.revoked_at is None else "revoked"


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _table(found: list[dict[str, Any]]) -> Table:
    """Keys in rows that fit 80 columns. A note is no markup of Rich's, so each cell is Text."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for title in ("Id", "Tenant", "Scope", "State", "UTC", "Note"):
        table.add_column(title, overflow="fold", no_wrap=title not in {"Tenant", "Note"})
    for facts in found:
        texts = (facts["id"], facts["tenant"], _scope(facts), facts["state"], _times(facts), facts["note"] or "")
        table.add_row(*map(Text, texts), style="" if facts["state"] == "active" else "dim")
    return table


def _scope(facts: dict[str, Any]) -> str:
    return facts["scope"] if facts["rate"] is None else f"{facts['scope']}\n{facts['rate']}/s"


def _times(facts: dict[str, Any]) -> str:
    """Without seconds and offset."""
    known = (("created", facts["created_at"]), ("last used", facts["last_used_at"]), ("expires", facts["expires_at"]))
    return "\n".join(f"{what:<9} {at[:16].replace('T', ' ')}" for what, at in known if at is not None)
