"""Planned events as the bodies of HTTP requests and the messages of gRPC calls."""

from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from cli.client.messages import EVENTS_PATH, grpc_message
from models.events import Event
from models.rules.calendar import to_datetime
from tools.loadtest.generator import Plan


class Request(NamedTuple):
    """What goes over the wire in one call."""

    path: str
    """The path of an HTTP request or the full name of a gRPC method."""
    body: bytes
    events: "array[int]"
    """The plan's indexes of the events in the body, in its order."""


def http_requests(plan: Plan, batch: int) -> Iterator[Request]:
    """The plan as HTTP requests of up to ``batch`` events; a batch of one is sent as one object."""
    for start in range(0, len(plan.order), batch):
        indexes = plan.order[start : start + batch]
        rows = [_row(plan.event(index)) for index in indexes]
        yield Request(EVENTS_PATH, orjson.dumps(rows[0] if batch == 1 else rows), indexes)


def grpc_requests(plan: Plan) -> Iterator[Request]:
    """The plan as gRPC calls of one event each; the plan must be made with ``platform_only``."""
    for position in range(len(plan.order)):
        indexes = plan.order[position : position + 1]
        method, message = grpc_message(plan.event(indexes[0]))
        yield Request(method, message, indexes)


def _row(event: Event) -> dict[str, Any]:
    row: dict[str, Any] = {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "tenant_id": event.tenant_id,
        "user_id": event.user_id,
        "occurred_at": to_datetime(event.occurred_at),
    }
    if event.value is not None:
        row["value"] = event.value
    if event.payload:
        row["payload"] = orjson.Fragment(event.payload)
    return row
