"""``questline doctor``: findings about the installation, and what to do."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.client.running import require_servers, running_settings
from cli.output import print_table
from config.settings import Settings
from config.shared_settings import with_shared_values
from models.database.connection import connect_database
from models.errors import PermanentError, QuestlineError
from models.failpoints import now_us
from models.state.connection import connect_state
from models.state.fleet.installation import InstallationCopy
from tools.doctor.examination import Finding, examine
from tools.doctor.registry import Installation
from worker.celery_app import make_app
from worker.logs import configure_logs

_TIMEOUT_SECONDS = 3.0
_STYLES = {"error": "bold red", "warning": "yellow", "ok": "green"}


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 on warnings too.")] = False,
) -> None:
    """Check settings, servers, processes and this machine; exit code 1 where there is an error."""
    settings = running_settings(Settings())
    configure_logs("error", process="doctor")
    with _installation(settings) as installation, Console(stderr=True).status("looking at everything"):
        findings = examine(installation)
    if as_json:
        typer.echo(json.dumps(_as_data(findings)))
    else:
        _show(findings)
    counts = Counter(finding.level for finding in findings)
    if counts["error"] or (strict and counts["warning"]):
        raise typer.Exit(1)


@contextmanager
def _installation(settings: Settings) -> Iterator[Installation]:
    try:
        require_servers(settings)
        has_servers = True
    except PermanentError:
        has_servers = False
    given, settings = settings, _shared(settings)
    app = make_app(settings)
    # The check must not wait long for a broker that is away.
    app.conf.update(broker_connection_retry=False, broker_connection_timeout=_TIMEOUT_SECONDS)
    engine = connect_database(settings.database_url, application="questline-doctor", pool_size=8)
    with (
        closing(connect_state(settings.state, socket_timeout=_TIMEOUT_SECONDS)) as state,
        closing(connect_state(settings.broker, socket_timeout=_TIMEOUT_SECONDS)) as broker,
    ):
        yield Installation(settings, state, broker, engine, app, now_us, given, has_servers=has_servers)


def _shared(settings: Settings) -> Settings:
    """The shared settings as Redis knows them, for all checks but the one of the settings themselves."""
    with closing(connect_state(settings.state, socket_timeout=_TIMEOUT_SECONDS)) as state:
        try:
            record = InstallationCopy(state).read()
            return settings if record is None else with_shared_values(settings, record.values)
        except (QuestlineError, ValueError):  # the checks will say so
            return settings


def _as_data(findings: Sequence[Finding]) -> dict[str, object]:
    counts = Counter(finding.level for finding in findings)
    return {
        "ok": not counts["error"],
        "errors": counts["error"],
        "warnings": counts["warning"],
        "findings": [finding._asdict() for finding in findings],
    }


def _show(findings: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("", "check", "says"):
        table.add_column(title, overflow="fold")
    for finding in sorted(findings, key=lambda finding: list(_STYLES).index(finding.level)):  # what is wrong at the top
        says = f"{finding.says}\n[dim]→ {finding.advice}[/dim]" if finding.advice else finding.says
        table.add_row(f"[{_STYLES[finding.level]}]{finding.level}[/]", finding.check, says)
    counts = Counter(finding.level for finding in findings)
    print_table(table)
    checks = len({finding.check for finding in findings})
    Console().print(f"{checks} checks, {counts['error']} errors, {counts['warning']} warnings")
