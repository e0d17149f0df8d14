"""``questline reconcile``: repair progress and unlocks on a running product."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Annotated, Any

import typer
from rich.progress import Progress
from sqlalchemy import Engine

from cli.client.running import require_servers, running_settings
from cli.database import log_database
from cli.output import Bar, escaped, progress_bars
from config.settings import Settings
from models.installation.joining import shared_to_write
from models.state.connection import connect_state
from models.state.progress.repairs import RecordRepairs
from tasks.audit.audit import Auditor
from tasks.audit.published_rules import late_by, published_rules
from tools.audit.commands.audit import late_lines, said
from tools.audit.commands.scope import Everyone, Sample, Tenant, User, scope_of
from tools.audit.examination import Examiner
from tools.audit.reconcile_report import ReconcileReport
from tools.audit.reconciliation import Reconciler
from worker.logs import configure_logs
from worker.parts import WorkerParts


def reconcile(
    *,
    user: User = None,
    tenant: Tenant = None,
    sample: Sample = None,
    everyone: Everyone = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what differs.")] = False,
    rejudge: Annotated[
        bool,
        typer.Option("--rejudge", help="Judge events anew that were judged by older rules than held."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Repair users whose progress or unlocks are not what the event log says; exit code 1 if some are left."""
    settings = shared_to_write(running_settings(Settings()))
    configure_logs("warning", process="reconcile")  # stdout holds the answer alone
    scope = scope_of(settings, user, tenant, sample, everyone=everyone)
    require_servers(settings)
    with ExitStack() as stack:
        engine = stack.enter_context(log_database(settings))
        progress = stack.enter_context(progress_bars())
        report = _reconciler(settings, engine, progress, stack).run(scope, dry_run=dry_run, rejudge=rejudge)
    typer.echo(json.dumps(_as_data(report)) if as_json else escaped("\n".join(_lines(report))))
    if not report.is_right:
        raise typer.Exit(1)


def _reconciler(settings: Settings, engine: Engine, progress: Progress, stack: ExitStack) -> Reconciler:
    redis = stack.enter_context(closing(connect_state(settings.state)))
    parts = WorkerParts(settings, redis, engine)
    stack.callback(parts.metrics.push)
    replaying = Bar(progress, "events replayed")
    auditor = Auditor(
        engine,
        lambda: published_rules(engine, settings),
        late_by(settings),
        settings.event_retention,
        replaying,
    )
    repairs = RecordRepairs(redis, window=settings.max_lateness, record_ttl=settings.record_ttl)
    return Reconciler(
        Examiner(auditor, repairs, parts.shard_log, settings.max_lateness, parts.fleet_us),
        parts.make_flusher(parts.make_history_watch()),
        settings.shards,
        Bar(progress, "users looked at", total=0),
    )


def _as_data(report: ReconcileReport) -> dict[str, Any]:
    return {
        "ok": report.is_right,
        "users": report.users,
        "events": report.events,
        "users_differing": report.users_differing,
        "users_repaired": report.users_repaired,
        "rows_deleted": report.rows_deleted,
        "unlocks_added": report.unlocks_added,
        "difference_count": report.difference_count,
        "differences": [difference._asdict() for difference in report.differences],
        "left_count": report.left_count,
        "left": [left._asdict() for left in report.left],
        "judged_late_count": report.judgements.count,
        "events_rejudged": report.events_rejudged,
        "skipped": dict(report.skipped),
        "seconds": round(report.seconds, 3),
    }


def _lines(report: ReconcileReport) -> Iterator[str]:
    yield from map(said, report.differences)
    if report.difference_count > len(report.differences):
        yield f"and {report.difference_count - len(report.differences):,} more"
    yield from late_lines(report.judgements)
    if report.events_rejudged:
        yield f"judged anew: {report.events_rejudged:,} events"
    for reason, number in report.skipped.items():
        yield f"not looked at: {number:,}, {reason}"
    for left in report.left:
        yield f"left: {left.tenant_id} {left.user_id}: {left.reason}"
    if report.left_count > len(report.left):
        yield f"and {report.left_count - len(report.left):,} more"
    yield (
        f"{report.users:,} users, {report.events:,} events replayed, {report.users_differing:,} users differed in "
        f"{report.difference_count:,} places, {report.users_repaired:,} repaired, {report.rows_deleted:,} rows "
        f"deleted, {report.unlocks_added:,} unlocks added, {report.left_count:,} left, {report.seconds:,.1f} s"
    )
