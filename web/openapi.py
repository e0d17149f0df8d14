"""What OpenAPI says of the receiver: bodies, answers, problems.

The handlers read bodies themselves, so the framework cannot derive the description; it is made here from
the same models that validate. ``install_openapi`` also puts right what the framework assumes of errors in
the routes of every room.
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from ingest.accelbyte import LOGIN_TOPIC, STATISTIC_TOPIC
from ingest.pipeline import Rejection
from ingest.schema import EventIn
from web.authentication import FREE_PATHS
from web.problems import PROBLEM_JSON, Problem, RejectedBatch

_REF = "#/components/schemas/"


class EventsAnswer(BaseModel):
    """What became of the events of a request."""

    accepted: int = Field(description="How many events are durable now; duplicates are found later and count once.")
    rejected: list[Rejection] = Field(description="Every fault of the events that were refused, up to ten an event.")


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
    many = {"type": "array", "items": {"$ref": _REF + name}, "minItems": 1, "maxItems": 1000}
    schema = {"oneOf": [{"$ref": _REF + name}, many]}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


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
_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `questline keys create` prints it."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
_REFUSALS: dict[str, dict[str, Any]] = {
    "401": {
        "description": "No key is shown, or none that is valid.",
        "headers": {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
    },
    "403": {"description": "The key does not have the scope, or is another tenant's."},
    "429": {
        "description": "The key has made as many requests, or it or its tenant has sent as much, as it may for now.",
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    },
}


def install_openapi(app: FastAPI) -> None:
    """Describe the bodies that handlers read themselves, and errors as the problems they are."""
    derive = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = derive()
            _add_models(schema)
            _add_keys(schema)
            _errors_are_problems(schema)
        return derive()

    app.openapi = describe  # type: ignore[method-assign] # FastAPI's documented way to extend the schema


def _add_models(schema: dict[str, Any]) -> None:
    models = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in (EventIn, AgsEventIn, Problem):
        described = model.model_json_schema(ref_template=_REF + "{model}")
        models.update(described.pop("$defs", {}))
        models[described["title"]] = described
    for unused in ("HTTPValidationError", "ValidationError"):
        models.pop(unused, None)


def _add_keys(schema: dict[str, Any]) -> None:
    """Describe where keys are shown, and how they are refused."""
    schema["components"]["securitySchemes"] = _SCHEMES
    # The empty one: an installation that has no key yet takes everybody, on loopback.
    schema["security"] = [{}, *({name: []} for name in _SCHEMES)]
    for path, operations in schema.get("paths", {}).items():
        for operation in operations.values():
            if path in FREE_PATHS:
                operation["security"] = []
            else:
                for status, answer in _REFUSALS.items():
                    operation["responses"].setdefault(status, dict(answer))


def _errors_are_problems(schema: dict[str, Any]) -> None:
    for path in schema.get("paths", {}).values():
        for operation in path.values():
            for status, answer in operation.get("responses", {}).items():
                if status[0] in "45":
                    answer["content"] = {PROBLEM_JSON: {"schema": _problem_schema(answer)}}


def _problem_schema(answer: dict[str, Any]) -> dict[str, Any]:
    """The schema an error answer names itself; the framework's own 422 becomes a plain problem."""
    for content in answer.get("content", {}).values():
        reference: dict[str, Any] = content.get("schema", {})
        if reference and not reference.get("$ref", "").endswith("/HTTPValidationError"):
            return reference
    return {"$ref": _REF + "Problem"}
