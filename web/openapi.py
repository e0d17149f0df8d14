"""OpenAPI of all routes: authentication, and errors as problems.

``install_openapi`` puts right what the framework assumes of errors, and adds the models of bodies that handlers read
themselves.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from web.authentication.middleware import FREE_PATHS
from web.problems import PROBLEM_JSON, Problem

REFERENCE = "#/components/schemas/"
_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, as `questline keys create` prints it."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
REFERENCEUSALS: dict[str, dict[str, Any]] = {
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


def install_openapi(app: FastAPI, bodies: Sequence[type[BaseModel]] = ()) -> None:
    """Describe the ``bodies`` that handlers read themselves, and errors as the problems they are."""
    derive = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = derive()
            _add_models(schema, [*bodies, Problem])
            _add_keys(schema)
            _errors_are_problems(schema)
        return derive()

    app.openapi = describe  # type: ignore[method-assign] # FastAPI's documented way to extend the schema


def _add_models(schema: dict[str, Any], described_models: Sequence[type[BaseModel]]) -> None:
    models = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in described_models:
        described = model.model_json_schema(ref_template=REFERENCE + "{model}")
        models.update(described.pop("$defs", {}))
        models[described["title"]] = described
    for unused in ("HTTPValidationError", "ValidationError"):
        models.pop(unused, None)


def _add_keys(schema: dict[str, Any]) -> None:
    """Describe where keys are shown, and how they are refused."""
    schema["components"]["securitySchemes"] = _SCHEMES
    # The empty one: an installation without keys admits every caller, on loopback.
    schema["security"] = [{}, *({name: []} for name in _SCHEMES)]
    for path, operations in schema.get("paths", {}).items():
        for operation in operations.values():
            if path in FREE_PATHS:
                operation["security"] = []
            else:
                for status, answer in REFERENCEUSALS.items():
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
    return {"$ref": REFERENCE + "Problem"}
