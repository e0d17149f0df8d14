"""What OpenAPI says of the routes for events: bodies, answers, problems.

The handlers read bodies themselves, so the framework cannot derive the description; it is made here from the models
that validate.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ingest.accelbyte import LOGIN_TOPIC, STATISTIC_TOPIC
from ingest.pipeline import Rejection
from ingest.schema import EventIn
from web.openapi import REFERENCE
from web.problems import Problem


class EventsAnswer(BaseModel):
    """What became of the events of a request."""

    accepted: int = Field(description="How many events are durable now; duplicates are found later and count once.")
    rejected: list[Rejection] = Field(description="Every fault of the events that were refused, up to ten an event.")


class RejectedBatch(Problem):
    """The problem of a request none of whose events was accepted."""

    accepted: int = Field(default=0, description="Always 0.")
    rejected: list[Rejection]


class AgsAnswer(EventsAnswer):
    """What became of AccelByte events."""

    ignored: int = Field(description="How many belong to another namespace than AB_NAMESPACE.")


class AgsPayload(BaseModel):
    """The fields Questline reads from a payload; others are tolerated."""

    model_config = ConfigDict(extra="allow")

    userId: str | None = Field(default=None, description="Where absent: the event's own userId.")  # noqa: N815
    namespace: str | None = Field(default=None, description="Where absent: the event's own, then the topic's.")
    statCode: str | None = Field(default=None, description="Required on statItemUpdated.")  # noqa: N815
    value: float | None = Field(default=None, description="Required on statItemUpdated, here or as latestValue.")
    latestValue: float | None = Field(default=None, description="Read where there is no value.")  # noqa: N815
    inc: float | None = Field(default=None, description="How far the statistic moved.")


class AgsEventIn(BaseModel):
    """An event as AccelByte publishes it."""

    model_config = ConfigDict(
        extra="allow",
        title="AgsEvent",
        json_schema_extra={
            "example": {
                "id": "event-456",
                "payload": {
                    "userId": "abc123",
                    "namespace": "mygame",
                    "statCode": "match_wins",
                    "value": 42.0,
                },
            }
        },
    )

    id: str | None = Field(default=None, description="Without it: derived from the content, or made up.")
    timestamp: str | None = Field(default=None, description="When it happened, RFC 3339. Without it: on arrival.")
    payload: AgsPayload


def _one_or_many(name: str) -> dict[str, Any]:
    many = {"type": "array", "items": {"$ref": REFERENCE + name}, "minItems": 1, "maxItems": 1000}
    schema = {"oneOf": [{"$ref": REFERENCE + name}, many]}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


BODIES = (EventIn, AgsEventIn)
EVENTS_BODY = _one_or_many("Event")
AGS_BODY = _one_or_many("AgsEvent")
ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not JSON, or the address is no UTF-8."},
    413: {"model": Problem, "description": "The body is larger than 1 MiB or holds more than 1,000 events."},
    415: {"model": Problem, "description": "The body is compressed."},
    422: {"model": RejectedBatch, "description": "No event was accepted; each is named with what is wrong."},
    503: {
        "model": Problem,
        "description": "A shard of these events is full, or Redis is away; nothing was lost by trying again later.",
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    },
}
UNKNOWN_TOPIC: dict[int | str, dict[str, Any]] = {
    404: {
        "model": Problem,
        "description": f"Not one of <namespace>.{LOGIN_TOPIC}, <namespace>.{STATISTIC_TOPIC}.",
    }
}
