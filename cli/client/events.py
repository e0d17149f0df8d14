"""``questline events trigger``: send one event in AccelByte's shape."""

import json
import time
from typing import Annotated, Any
from uuid import uuid4

import typer

from cli.client.running import addresses, running_settings
from cli.output import json_text
from config.settings import Settings
from models.errors import PermanentError
from models.events import Event

events = typer.Typer(help="Send single events to the running product.", no_args_is_help=True, add_completion=False)
trigger = typer.Typer(
    help="Send one event as the AccelByte platform would.", no_args_is_help=True, add_completion=False
)
events.add_typer(trigger, name="trigger")

_User = Annotated[str, typer.Option("--user", help="The user's id.")]
_Tenant = Annotated[str | None, typer.Option("--tenant", help="The namespace; AB_NAMESPACE or 'default' if not given.")]
_EventId = Annotated[str | None, typer.Option("--id", help="The event's id; a new one if not given.")]
_Grpc = Annotated[bool, typer.Option("--grpc", help="Send by gRPC instead of HTTP.")]
_Json = Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")]


@events.callback()
def _group() -> None:
    """Send single events to the running product."""


@trigger.command()
def login(
    *,
    user: _User,
    tenant: _Tenant = None,
    event_id: _EventId = None,
    grpc: _Grpc = False,
    as_json: _Json = False,
) -> None:
    """Send a login."""
    settings = running_settings(Settings())
    event = _event(settings, "login", user, tenant, event_id)
    _send(settings, event, "iam.account.v1.userLoggedIn", {}, grpc=grpc, as_json=as_json)


@trigger.command()
def statistic(
    *,
    user: _User,
    stat_code: Annotated[str, typer.Option(help="The statistic's code, such as match_wins.")],
    value: Annotated[float, typer.Option(help="Its new value.")],
    inc: Annotated[
        float | None,
        typer.Option(help="How far it moved: increment goals count this. 0 by gRPC, the value by HTTP."),
    ] = None,
    tenant: _Tenant = None,
    event_id: _EventId = None,
    grpc: _Grpc = False,
    as_json: _Json = False,
) -> None:
    """Send a statistic's new value."""
    settings = running_settings(Settings())
    event = _event(settings, f"statistic:{stat_code}", user, tenant, event_id)._replace(value=value, increment=inc)
    facts = {"statCode": stat_code, "value": value} | ({} if inc is None else {"inc": inc})
    _send(settings, event, "social.statistic.v1.statItemUpdated", facts, grpc=grpc, as_json=as_json)


def _event(settings: Settings, event_type: str, user: str, tenant: str | None, event_id: str | None) -> Event:
    return Event(
        event_id=event_id or f"cli-{uuid4()}",
        event_type=event_type,
        tenant_id=settings.tenant_or_default(tenant),
        user_id=user,
        occurred_at=time.time_ns() // 1_000,
        accepted_at=0,
    )


def _send(settings: Settings, event: Event, topic: str, facts: dict[str, Any], *, grpc: bool, as_json: bool) -> None:
    """Send an event; ``facts`` are the payload's own, and ``topic`` is without its namespace."""
    answer = _by_grpc(settings, event) if grpc else _by_http(settings, event, topic, facts)
    if as_json:
        typer.echo(json_text({"event_id": event.event_id, "answer": answer}))
    else:
        typer.echo(f"sent {event.event_id}: {json_text(answer)}")


def _by_http(settings: Settings, event: Event, topic: str, facts: dict[str, Any]) -> Any:
    from cli.client.http import call, in_path  # noqa: PLC0415 - an HTTP client only where one is used

    payload = {"userId": event.user_id, "namespace": event.tenant_id, **facts}
    url = f"{addresses(settings)['http']}/v1/ags/{in_path(f'{event.tenant_id}.{topic}')}"
    answer = call("POST", url, {"id": event.event_id, "payload": payload}, key=settings.api_key)
    if answer.status in {401, 403, 429}:
        answer.result(url)
    if not answer.ok:
        raise PermanentError(f"the receiver answered {answer.status}: {json.dumps(answer.body, ensure_ascii=False)}")
    return answer.body


def _by_grpc(settings: Settings, event: Event) -> Any:
    from cli.client.channels import channel_to  # noqa: PLC0415 - gRPC only where it is used
    from cli.client.grpc import send_event  # noqa: PLC0415 - the same

    send_event(channel_to(addresses(settings)["grpc"], settings), event, key=settings.api_key)
    return {"status": "OK"}
