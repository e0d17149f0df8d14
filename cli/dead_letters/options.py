"""The options of ``questline dlq`` that select dead letters."""

import inspect
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Annotated, Any

import typer

from cli.output import read_datetime
from models.database.dead_letters.filter import DeadLetterFilter, Kind


def _datetime_option(option: str) -> Callable[[Any], datetime | None]:
    def read(given: Any) -> datetime | None:
        return given if given is None or isinstance(given, datetime) else read_datetime(str(given), option)

    return read


_Ids = Annotated[
    list[int] | None, typer.Option("--id", min=1, max=2**63 - 1, help="Only this dead letter; may be repeated.")
]
_Tenant = Annotated[str | None, typer.Option("--tenant", help="Of this tenant; of all where not given.")]
_User = Annotated[str | None, typer.Option("--user", help="Of this user.")]
_Kind = Annotated[Kind | None, typer.Option("--kind", help="What the dead letter holds.")]
_Reason = Annotated[str | None, typer.Option("--reason", help="With this reason code, such as evaluation_failed.")]
_Task = Annotated[str | None, typer.Option("--task", help="From this Celery task.")]
_Shard = Annotated[int | None, typer.Option("--shard", min=0, max=1023, help="Of this shard.")]
_Batch = Annotated[str | None, typer.Option("--batch-id", help="Of this batch.")]
_Event = Annotated[str | None, typer.Option("--event-id", help="With this event.")]
_Since = Annotated[
    datetime | None,
    typer.Option(
        "--since", parser=_datetime_option("--since"), metavar="TIME", help="Last seen at this time or later."
    ),
]
_Until = Annotated[
    datetime | None,
    typer.Option("--until", parser=_datetime_option("--until"), metavar="TIME", help="Last seen before it."),
]


def _wanted(
    *,
    ids: _Ids = None,
    tenant_id: _Tenant = None,
    user_id: _User = None,
    kind: _Kind = None,
    reason: _Reason = None,
    task: _Task = None,
    shard: _Shard = None,
    batch_id: _Batch = None,
    event_id: _Event = None,
    since: _Since = None,
    until: _Until = None,
) -> DeadLetterFilter:
    return DeadLetterFilter(
        tenant_id, user_id, kind, reason, task, shard, batch_id, event_id, since, until, sorted(ids) if ids else None
    )


def takes_filter(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose parameter ``wanted`` is a DeadLetterFilter, the options that make one."""
    own = inspect.signature(command)
    options = inspect.signature(_wanted).parameters

    @wraps(command)
    def with_options(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in options}
        command(wanted=_wanted(**chosen), **given)

    kept = [parameter for name, parameter in own.parameters.items() if name != "wanted"]
    signature = own.replace(parameters=[*options.values(), *kept])
    with_options.__signature__ = signature  # type: ignore[attr-defined] # what Typer reads a command's options from
    with_options.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    return with_options
