"""Planned events as bytes: the bodies of HTTP requests and the messages of the gRPC services."""

from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from models.events import Event
from models.rules.calendar import moment
from tools.loadtest.event_kinds import LOGIN, STATISTIC
from tools.loadtest.generator import Plan

EVENTS_PATH = "/v1/events"
LOGIN_METHOD = "/accelbyte.iam.account.v1.UserAuthenticationUserLoggedInService/OnMessage"
STATISTIC_METHOD = "/accelbyte.social.statistic.v1.StatisticStatItemUpdatedService/OnMessage"


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


def grpc_message(event: Event) -> tuple[str, bytes]:
    """The method that takes a login or a statistic, and the message.

    Raises:
        ValueError: the event is neither.
    """
    # PLC0415: protobuf is loaded only by those who speak gRPC.
    from ingest.protos.account_pb2 import UserLoggedIn  # noqa: PLC0415
    from ingest.protos.statistic_pb2 import StatItem, StatItemUpdated  # noqa: PLC0415

    outer: dict[str, Any] = {
        "id": event.event_id,
        "namespace": event.tenant_id,
        "user_id": event.user_id,
        "timestamp": moment(event.occurred_at).isoformat(),
    }
    if event.event_type == LOGIN:
        return LOGIN_METHOD, UserLoggedIn(name="userLoggedIn", **outer).SerializeToString()
    if not event.event_type.startswith(STATISTIC):
        raise ValueError(f"{event.event_type!r} has no gRPC service")
    stat = StatItem(
        namespace=event.tenant_id,
        stat_code=event.event_type.removeprefix(STATISTIC),
        user_id=event.user_id,
        latest_value=event.value or 0.0,
        inc=event.increment or 0.0,
    )
    return STATISTIC_METHOD, StatItemUpdated(name="statItemUpdated", payload=stat, **outer).SerializeToString()


def _row(event: Event) -> dict[str, Any]:
    row: dict[str, Any] = {
        "event_id": event.event_id,
        "event_type": event.event_type,
        "tenant_id": event.tenant_id,
        "user_id": event.user_id,
        "occurred_at": moment(event.occurred_at),
    }
    if event.value is not None:
        row["value"] = event.value
    if event.payload:
        row["payload"] = orjson.Fragment(event.payload)
    return row
