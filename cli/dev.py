"""``questline dev``: views for developers of Questline."""

import json
from hashlib import sha1
from typing import Annotated, Any

import typer

from models.state.lua_source import SCRIPTS
from models.state.progress.script_text import script_text

dev = typer.Typer(no_args_is_help=True, help="For developers of Questline.")


@dev.callback()
def _group() -> None:
    """For developers of Questline."""


@dev.command()
def lua(
    name: Annotated[str | None, typer.Argument(help="The script, such as apply_events.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the names of all scripts.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the digest and the size.")] = False,
) -> None:
    """Print a Lua script as Redis gets it: put together, and with numbers instead of names.

    For example: questline dev lua apply_events
    """
    if list_ == (name is not None):
        raise typer.BadParameter("name a script, or ask for --list")
    if name is not None and name not in SCRIPTS:
        raise typer.BadParameter(f"there is no script {name!r}; --list has all", param_hint="NAME")
    if name is not None:
        source = script_text(name)
        typer.echo(json.dumps(_described(name, source) | {"source": source}, indent=2) if as_json else source, nl=False)
        return
    if as_json:
        typer.echo(json.dumps([_described(one, script_text(one)) for one in SCRIPTS], indent=2))
    else:
        typer.echo("\n".join(SCRIPTS))


def _described(name: str, source: str) -> dict[str, Any]:
    digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
    return {"name": name, "sha1": digest, "bytes": len(source.encode()), "lines": source.count("\n")}
