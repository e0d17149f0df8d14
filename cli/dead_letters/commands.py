"""``questline dlq``: look at dead letters, redrive, discard or export them.

Looking, discarding and exporting work on PostgreSQL, also while the product is down. Redriving goes through the
receiver, as any sender does.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any

import typer

from cli.client.running import running_settings
from cli.database import open_database
from cli.dead_letters.options import takes_filter
from cli.dead_letters.views import dead_letter_data, dead_letter_text, dead_letters_table, groups_table, head_data
from cli.output import escaped, json_text, print_table, progress_bars
from config.settings import Settings
from models.database.dead_letters.changes import DeadLetterChanges
from models.database.dead_letters.filter import DeadLetterFilter
from models.database.dead_letters.reader import DeadLetterReader
from models.errors import PermanentError

dlq = typer.Typer(help="Look at dead letters, redrive or discard them.", no_args_is_help=True, add_completion=False)

_DISCARDED_AT_ONCE = 200
_Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
_Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Dead letters at most, the oldest first.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")]


@dlq.command("list")
@takes_filter
def list_dead_letters(
    *,
    wanted: DeadLetterFilter,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Dead letters at most, the newest first.")] = 50,
    as_json: _Json = False,
) -> None:
    """List dead letters, the newest first."""
    with _dead_letters() as (reader, _):
        heads, total = list(_newest(reader, wanted, limit)), reader.count(wanted)
    if as_json:
        typer.echo(json_text({"letters": [head_data(head) for head in heads], "total": total}))
        return
    print_table(dead_letters_table(heads))
    typer.echo(f"{len(heads)} of {total} dead letters")


@dlq.command("groups")
@takes_filter
def list_groups(*, wanted: DeadLetterFilter, as_json: _Json = False) -> None:
    """Count dead letters by their cause."""
    with _dead_letters() as (reader, _):
        groups = reader.groups(wanted)
    if as_json:
        found = [group._asdict() | {"count": group.number} for group in groups]
        for one in found:
            del one["number"]
        typer.echo(json_text(found, default=_spelled))
        return
    print_table(groups_table(groups))
    typer.echo(f"{sum(group.number for group in groups)} dead letters of {len(groups)} causes")


@dlq.command("show")
def show_dead_letter(
    *, letter_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1)], as_json: _Json = False
) -> None:
    """Show one dead letter with all that is known of it."""
    with _dead_letters() as (reader, _):
        dead_letter = reader.dead_letter(letter_id)
    if dead_letter is None:
        raise PermanentError(f"there is no dead letter {letter_id}")
    typer.echo(json_text(dead_letter_data(dead_letter)) if as_json else escaped(dead_letter_text(dead_letter)))


@dlq.command("export")
@takes_filter
def export(
    *,
    wanted: DeadLetterFilter,
    output: Annotated[
        typer.FileTextWrite, typer.Option("--output", "-o", encoding="utf-8", help="A file; stdout where not given.")
    ] = "-",  # type: ignore[assignment] # Typer opens what the text names
    limit: _Limit = None,
) -> None:
    """Write dead letters as JSON lines, the oldest first: all that is known, with what they hold as base64."""
    with _dead_letters() as (reader, _), progress_bars() as bars:
        total = _bounded(reader.count(wanted), limit)
        bar = bars.add_task("dead letters", total=total)
        written = 0
        for line in _exported(reader, wanted, limit):
            output.write(f"{line}\n")
            written += 1
            bars.advance(bar)
    typer.echo(f"{written} dead letters", err=True)


@dlq.command("discard")
@takes_filter
def discard(
    *,
    wanted: DeadLetterFilter,
    limit: _Limit = None,
    dry_run: _DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: _Json = False,
) -> None:
    """Delete dead letters for good; asks where there are several. Export them first."""
    with _dead_letters() as (reader, changes):
        found = _bounded(reader.count(wanted), limit)
        if found > 1 and not dry_run and not yes:
            typer.confirm(f"Delete {found} dead letters for good?", abort=True, err=True)
        deleted = found if dry_run else _discard(reader, changes, wanted, found)
    if as_json:
        typer.echo(json.dumps({"discarded": deleted, "dry_run": dry_run}))
    else:
        typer.echo(f"{'would delete' if dry_run else 'deleted'} {deleted} dead letters")


@dlq.command("redrive")
@takes_filter
def redrive(
    *, wanted: DeadLetterFilter, limit: _Limit = None, dry_run: _DryRun = False, as_json: _Json = False
) -> None:
    """Send dead letters their way once more, through the running receiver; exit code 1 where some are refused.

    Events keep their ids, so none counts twice.
    """
    from cli.dead_letters.redrive import redrive_dead_letters  # noqa: PLC0415 - an HTTP client only where one is used

    settings = running_settings(Settings())
    with progress_bars() as bars:
        bar = bars.add_task("dead letters", total=None)
        report = redrive_dead_letters(
            settings,
            wanted,
            limit,
            dry_run=dry_run,
            on_done=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    typer.echo(json_text(report.as_data()) if as_json else escaped("\n".join(report.lines(dry_run=dry_run))))
    if report.refused:
        raise typer.Exit(1)


@contextmanager
def _dead_letters() -> Iterator[tuple[DeadLetterReader, DeadLetterChanges]]:
    with open_database(running_settings(Settings()), "questline-dlq") as engine:
        yield DeadLetterReader(engine), DeadLetterChanges(engine)


def _newest(reader: DeadLetterReader, wanted: DeadLetterFilter, limit: int) -> Iterator[Any]:
    return islice(reader.all_newest(wanted), limit)


def _discard(reader: DeadLetterReader, changes: DeadLetterChanges, wanted: DeadLetterFilter, total: int) -> int:
    """Delete up to ``total`` dead letters, a page at a time."""
    deleted, after = 0, 0
    with progress_bars() as bars:
        bar = bars.add_task("dead letters", total=total)
        while deleted < total:
            page = reader.oldest(wanted, after=after, limit=min(_DISCARDED_AT_ONCE, total - deleted))
            if not page:
                break
            after = page[-1].id
            deleted += changes.discard([head.id for head in page])
            bars.update(bar, completed=deleted)
    return deleted


def _bounded(found: int, limit: int | None) -> int:
    return found if limit is None else min(found, limit)


def _spelled(value: Any) -> str:
    return str(value.isoformat())


def _exported(reader: DeadLetterReader, wanted: DeadLetterFilter, limit: int | None) -> Iterator[str]:
    """A line for each dead letter, the oldest first; one that is deleted meanwhile is left out."""
    for head in islice(reader.all(wanted), limit):
        dead_letter = reader.dead_letter(head.id)
        if dead_letter is not None:
            yield json_text(dead_letter_data(dead_letter))
