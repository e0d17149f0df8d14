"""``questline replay``: compute progress anew, into a schema of its own."""

import json
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from cli.client.running import running_settings
from cli.database import log_database, read_document
from cli.output import Bar, progress_bars, read_datetime
from config.settings import Settings
from models.installation.joining import shared
from models.rules.goals import only
from tasks.audit.published_rules import matcher_of, published_rules
from tools.audit.recomputation import Recomputer
from tools.audit.sandbox import Sandbox, check_name


def replay(
    *,
    into: Annotated[str, typer.Option(help="The schema to make.")],
    since: Annotated[
        str | None, typer.Option("--from", help="Only events from this time on, as 2026-12-01T00:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Only events before this time.")] = None,
    rules: Annotated[
        Path | None, typer.Option(help="A challenges file to go by, in place of what was published.")
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Replace the schema of an earlier replay.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Run the event log through the reference engine into tables of a new schema, and print their digest."""
    check_name(into)
    first = None if since is None else read_datetime(since, "--from")
    end = None if until is None else read_datetime(until, "--to")
    if first is not None and end is not None and first >= end:
        raise typer.BadParameter(f"{until} is not later than --from", param_hint="--to")
    settings = shared(running_settings(Settings()))
    given = None if rules is None else matcher_of(only(read_document(rules).rulebook), settings)
    started = monotonic()
    with log_database(settings) as engine, progress_bars() as progress:
        sandbox = Sandbox(engine, into)
        sandbox.make(drop=drop)
        bar = Bar(progress, "events replayed")
        recomputer = Recomputer(engine, lambda: given or published_rules(engine, settings), bar)
        done = recomputer.run(sandbox, since=first, until=end)
    answer = {"schema": into, **asdict(done), "seconds": round(monotonic() - started, 3)}
    typer.echo(json.dumps(answer) if as_json else "\n".join(f"{name:<8} {value}" for name, value in answer.items()))
