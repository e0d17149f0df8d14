"""``questline load-test``: send many events, prove what became of them."""

import json
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any
from uuid import uuid4

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress

from cli.client.channels import channel_to
from cli.client.http import call, in_path
from cli.client.running import addresses, require_servers, running_settings
from cli.client.trust import client_context
from cli.database import log_database
from cli.output import progress_bars
from config.settings import Settings
from ingest.accelbyte import LOGIN_TOPIC
from models.errors import ConfigurationError, ReceiverUnavailableError
from models.installation.joining import shared
from tasks.audit.published_rules import published_rules
from tools.loadtest.generator import Plan, Shape, make_plan
from tools.loadtest.report import as_data, as_table
from tools.loadtest.requests import Request, grpc_requests, http_requests
from tools.loadtest.sender import Pace, SendReport, send
from tools.loadtest.targets import GrpcTarget, HttpTarget, Target
from tools.loadtest.verification import VerifyReport, verify

_MADE_BEFOREHAND = 1_000_000
"""Up to so many events are encoded before the clock starts; more are encoded on the way, to spare memory."""
_SPREAD = timedelta(days=3)


def load_test(
    *,
    events: Annotated[int, typer.Option(min=1, help="How many events to send, repeats included.")],
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Events a second; as many as are taken if not given.")
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="How many users they belong to.")] = 1_000,
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="Events in one HTTP request.")] = 200,
    grpc: Annotated[bool, typer.Option("--grpc", help="Send by gRPC, one event a call.")] = False,
    duplicates: Annotated[float, typer.Option(min=0, max=99, help="Percent of the events that are repeats.")] = 0,
    tenant: Annotated[str, typer.Option(help="The tenant they belong to.")] = "load-test",
    seed: Annotated[int, typer.Option(help="The same seed draws the same events.")] = 0,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests under way; 8, or 64 for single events.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for PostgreSQL, and for a request.")] = 120,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Send many events, wait until PostgreSQL has them, and compare every row with the reference engine."""
    settings = shared(running_settings(Settings()))
    if settings.db_host is None:
        require_servers(settings)
    if grpc and settings.ab_namespace not in (None, tenant):
        raise ConfigurationError(
            f"AB_NAMESPACE is {settings.ab_namespace}: gRPC ignores other namespaces; add --tenant"
        )
    to = addresses(settings)
    _knock(to["http"], tenant, settings.api_key)
    with log_database(settings) as engine:
        rulebook = published_rules(engine, settings).publications.newest.rulebook
    shape = Shape(
        events=events,
        users=users,
        tenant_id=tenant,
        duplicates=duplicates,
        seed=seed,
        spread=min(_SPREAD, settings.max_lateness / 2),
        platform_only=grpc,
    )
    plan = make_plan(rulebook, shape, run=uuid4().hex[:10], now=time.time_ns() // 1_000)
    pace = Pace(concurrency=concurrency or (64 if grpc or batch == 1 else 8), rate=rate, patience=timeout)
    requests: Iterable[Request] = grpc_requests(plan) if grpc else http_requests(plan, batch)
    target: Target = (
        GrpcTarget(channel_to(to["grpc"], settings), key=settings.api_key)
        if grpc
        else HttpTarget(to["http"], pace.concurrency, key=settings.api_key, trust=client_context(settings))
    )
    with progress_bars() as progress:
        sent = _send(plan, requests, target, pace, progress)
        proof = _verify(sent, settings, timeout, progress)
    _say(as_data(sent, proof), as_json=as_json)


def _knock(http: str, tenant: str, key: str | None) -> None:
    """Refuse early where there is no receiver, or none that takes our key for this tenant.

    Raises:
        ReceiverUnavailableError: there was no answer.
        PermanentError: the key is not valid, or not for this tenant.
    """
    url = f"{http}/v1/ags/{in_path(tenant)}.{LOGIN_TOPIC}"
    answer = call("POST", url, [], key=key)  # no event at all: what lets it in refuses it as empty
    if answer.status in {401, 403}:
        answer.result(url)


def _send(plan: Plan, requests: Iterable[Request], target: Target, pace: Pace, progress: Progress) -> SendReport:
    bar = progress.add_task("sending", total=len(plan.order))
    if len(plan.order) <= _MADE_BEFOREHAND:
        requests = list(requests)
    sent = uvloop.run(send(plan, requests, target, pace, on_sent=lambda count: progress.advance(bar, count)))
    if not sent.accepted and len(sent.unanswered) == plan.distinct:
        raise ReceiverUnavailableError(f"no request was answered within {pace.patience:g} s")
    return sent


def _verify(sent: SendReport, settings: Settings, timeout: float, progress: Progress) -> VerifyReport:
    bar = progress.add_task("in PostgreSQL", total=sent.distinct_accepted)
    with log_database(settings) as engine:
        matcher = published_rules(engine, settings)  # only now: some may have been published while we sent
    return verify(
        sent,
        matcher,
        settings.database_url,
        timeout=timeout,
        on_count=lambda count: progress.update(bar, completed=count),
    )


def _say(data: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(data, indent=2))
    else:
        Console().print(as_table(data))
        for fault in data["faults"]:
            typer.echo(f"questline: {fault}", err=True)
    if not data["ok"]:
        raise typer.Exit(1)
