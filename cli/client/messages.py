"""An event as the message of a gRPC service takes it."""

from typing import Any

from models.events import Event
from models.rules.calendar import to_datetime

LOGIN, STATISTIC = "login", "statistic:"
"""The event type of a login, and how those of statistics begin."""
EVENTS_PATH = "/v1/events"
LOGIN_METHOD = "/accelbyte.iam.account.v1.UserAuthenticationUserLoggedInService/OnMessage"
STATISTIC_METHOD = "/accelbyte.social.statistic.v1.StatisticStatItemUpdatedService/OnMessage"


def grpc_message(event: Event) -> tuple[str, bytes]:
    """The method that takes a login or a statistic, and the message.

    Raises:
        ValueError: the event is neither.
    """
    # PLC0415: protobuf is loaded only where gRPC is spoken.
    from ingest.protos.account_pb2 import UserLoggedIn  # noqa: PLC0415
    from ingest.protos.statistic_pb2 import StatItem, StatItemUpdated  # noqa: PLC0415

    outer: dict[str, Any] = {
        "id": event.event_id,
        "namespace": event.tenant_id,
        "user_id": event.user_id,
        "timestamp": to_datetime(event.occurred_at).isoformat(),
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


def key_metadata(key: str | None) -> tuple[tuple[str, str], ...]:
    """The metadata that shows an API key to gRPC, where there is one."""
    return () if key is None else (("authorization", f"Bearer {key}"),)
