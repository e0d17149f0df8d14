"""``questline audit``: prove progress and unlocks against the event log."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

import typer

from cli.client.running import running_settings
from cli.database import log_database
from cli.output import Bar, escaped, progress_bars
from config.durations import parse_duration
from config.settings import Settings
from models.installation.joining import shared
from tasks.audit.audit import Auditor, AuditReport
from tasks.audit.comparison import MISSING, Difference
from tasks.audit.judgement import Judgements
from tasks.audit.published_rules import late_by, published_rules
from tools.audit.commands.scope import Everyone, Sample, Tenant, User, scope_of


def audit(
    *,
    user: User = None,
    tenant: Tenant = None,
    sample: Sample = None,
    everyone: Everyone = False,
    grace: Annotated[str, typer.Option("--settle", help="How long a user that differs has to become equal.")] = "10s",
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
) -> None:
    """Replay the event log through the reference engine, and compare progress and unlocks; exit code 1 on drift.

    Events that were judged by rules older than those of their time are named apart, and exit code 1 as well.
    """
    settings = shared(running_settings(Settings()))
    patience = _duration(grace)
    scope = scope_of(settings, user, tenant, sample, everyone=everyone)
    with log_database(settings) as engine, progress_bars() as progress:
        auditor = Auditor(
            engine,
            lambda: published_rules(engine, settings),
            late_by(settings),
            settings.event_retention,
            Bar(progress, "events replayed"),
        )
        report = auditor.run(scope, grace=patience)
    typer.echo(json.dumps(_as_data(report)) if as_json else escaped("\n".join(_lines(report))))
    if not report.is_right:
        raise typer.Exit(1)


def _duration(text: str) -> timedelta:
    if text == "0":
        return timedelta()
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--settle") from error


def _as_data(report: AuditReport) -> dict[str, Any]:
    return {
        "ok": report.is_right,
        "users": report.users,
        "events": report.events,
        "rows_equal": report.rows_equal,
        "unlocks_equal": report.unlocks_equal,
        "difference_count": report.difference_count,
        "differences": [difference._asdict() for difference in report.differences],
        "judged_late_count": report.judgements.count,
        "judged_late": [late._asdict() for late in report.judgements.found],
        "skipped": dict(report.skipped),
        "seconds": round(report.seconds, 3),
    }


def _lines(report: AuditReport) -> Iterator[str]:
    for difference in report.differences:
        yield said(difference)
    more = report.difference_count - len(report.differences)
    if more:
        yield f"and {more:,} more"
    yield from late_lines(report.judgements)
    for reason, number in report.skipped.items():
        yield f"not compared: {number:,}, {reason}"
    yield (
        f"{report.users:,} users, {report.events:,} events replayed, {report.rows_equal:,} rows equal, "
        f"{report.unlocks_equal:,} unlocks equal, {report.difference_count:,} differences, "
        f"{report.judgements.count:,} events judged by older rules, {report.seconds:,.1f} s"
    )


def late_lines(judgements: Judgements) -> Iterator[str]:
    """Events that were judged by older rules, and what to do about them."""
    for late in judgements.found:
        yield (
            f"{late.tenant_id} {late.user_id} event {late.event_id}: judged by revision {late.found} of the rules, and "
            f"revision {late.expected} held"
        )
    if judgements.count > len(judgements.found):
        yield f"and {judgements.count - len(judgements.found):,} more"
    if judgements.count:
        yield "`questline reconcile --rejudge` judges these events anew, by the rules of their time"


def said(difference: Difference) -> str:
    """A difference in a line."""
    period = f" {difference.period}" if difference.period else ""
    expected, found = (_text(value) for value in (difference.expected, difference.found))
    where = f"{difference.tenant_id} {difference.user_id} {difference.goal_id}{period}"
    return f"{where}: {difference.what} must be {expected}, is {found}"


def _text(value: Any) -> str:
    return str(value) if value == MISSING or isinstance(value, str) else json.dumps(value)
