"""``questline recover``: go on after PostgreSQL or Redis went back in time."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Annotated, Any

import typer

from cli.client.running import require_servers, running_settings
from cli.database import log_database
from config.settings import Settings
from models.fleet.histories import Standing
from models.installation.joining import bring_up, shared_to_write
from models.state.connection import connect_state
from models.stores.standings import Comparison, Difference
from tasks.histories.reset import ResetReport
from tasks.histories.watch import HistoryWatch
from worker.logs import configure_logs
from worker.parts import WorkerParts

_SAID = {
    Standing.DATABASE_BEHIND: "PostgreSQL is older than what was flushed to it",
    Standing.STATE_BEHIND: "Redis is older than PostgreSQL",
}


def recover(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Bring Redis and PostgreSQL to one truth: what PostgreSQL has, and what Redis still holds in its log and journal.

    Needed after a backup of PostgreSQL was restored. It may run beside the product, and does nothing where both are in
    step. Events that only the lost part of PostgreSQL had count again when they are sent again. Asks on a terminal.
    Exit code 1 where something differs still.
    """
    configure_logs("error", process="recover")  # stdout holds the answer alone
    with ExitStack() as stack:
        watch = _watch(stack, dry_run=dry_run)
        found = watch.compare()
        report = ResetReport([])
        if (found.differences or found.is_marked) and not dry_run:
            _ask(found, yes=yes)
            report = watch.recover()
        left = found if dry_run else watch.compare()
    typer.echo(json.dumps(_as_data(found, report, left)) if as_json else "\n".join(_lines(found, report, left)))
    if left.differences:
        raise typer.Exit(1)


def _watch(stack: ExitStack, *, dry_run: bool) -> HistoryWatch:
    settings = running_settings(Settings())
    require_servers(settings)
    if not dry_run:
        bring_up(settings)
    settings = shared_to_write(settings)
    engine = stack.enter_context(log_database(settings))
    redis = stack.enter_context(closing(connect_state(settings.state)))
    parts = WorkerParts(settings, redis, engine)
    stack.callback(parts.metrics.push)
    return parts.make_history_watch()


def _ask(found: Comparison, *, yes: bool) -> None:
    if yes or not found.differences or not sys.stdin.isatty():
        return
    for line in _differences(found.differences):
        typer.echo(line, err=True)
    typer.confirm("Go on from what PostgreSQL has now?", abort=True, err=True)


def _as_data(found: Comparison, report: ResetReport, left: Comparison) -> dict[str, Any]:
    return {
        "ok": not left.differences,
        "found": [
            {
                "shard": difference.shard,
                "standing": difference.standing.value,
                "postgresql_flush": difference.database.flushed.number,
                "redis_flush": difference.state.flushed.number,
                "events_lost_at_most": difference.lost_at_most,
            }
            for difference in found.differences
        ],
        **report._asdict(),
        "left": [difference.shard for difference in left.differences],
    }


def _lines(found: Comparison, report: ResetReport, left: Comparison) -> Iterator[str]:
    if not found.differences:
        yield "Redis and PostgreSQL are in step: there is nothing to recover"
        return
    yield from _differences(found.differences)
    if report.shards:
        yield (
            f"{len(report.shards)} shards go on from what PostgreSQL has: {report.entries_returned:,} applied batches "
            f"went back to the journal, {report.users_corrected:,} users had rows ahead of their events, "
            f"{report.users_left:,} of them could not be computed anew"
        )
    if left.differences:
        yield f"{len(left.differences)} shards differ still"


def _differences(differences: Sequence[Difference]) -> Iterator[str]:
    for difference in differences:
        yield (
            f"shard {difference.shard}: {_SAID[difference.standing]}: its last flush is "
            f"{difference.database.flushed.number:,}, Redis knows {difference.state.flushed.number:,}; "
            f"at most {difference.lost_at_most:,} events lost"
        )
