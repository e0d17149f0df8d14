"""A user's attributes over HTTP: ``PUT`` replaces them all, ``GET`` shows them."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.database_threads import DatabaseThreads
from api.parameters import TenantId, UserId
from models.attributes import (
    ATTRIBUTE_NAME,
    MAX_ATTRIBUTES,
    MAX_ATTRIBUTES_BYTES,
    Attributes,
    pack_attributes,
    read_attributes,
)
from models.errors import InvalidAttributesError
from models.stores.user_attributes import UserAttributes
from web.problems import ProblemError
from web.requests import Caller, read_body

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "maxProperties": MAX_ATTRIBUTES,
    "propertyNames": {"pattern": f"^{ATTRIBUTE_NAME}$"},
    "properties": {"timezone": {"type": "string", "description": "An IANA time zone name."}},
    "additionalProperties": {
        "anyOf": [{"type": "string", "maxLength": 256}, {"type": "number"}, {"type": "boolean"}],
    },
    "example": {"plan": "pro", "region": "eu", "seats": 5, "beta": True, "timezone": "Europe/Berlin"},
}
_CONTENT = {"application/json": {"schema": _SCHEMA}}
_STORED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The attributes as they are stored; {} where there are none.", "content": _CONTENT},
    503: {"description": "PostgreSQL or Redis did not answer; nothing was changed for certain, try again."},
}
_REFUSED: dict[int | str, dict[str, Any]] = {
    413: {"description": "The body is larger than 16 KiB."},
    422: {"description": "The detail names each attribute that is wrong, and the reason."},
}


def attributes_router(users: UserAttributes, threads: DatabaseThreads) -> APIRouter:
    """``PUT`` and ``GET /v1/users/{user_id}/attributes``."""
    router = APIRouter(tags=["attributes"])

    @router.put(
        "/v1/users/{user_id:path}/attributes",
        responses=_STORED | _REFUSED,
        openapi_extra={"requestBody": {"required": True, "content": _CONTENT}},
        summary="Replace a user's attributes",
    )
    async def replace_attributes(
        user_id: UserId, request: Request, caller: Caller, tenant_id: TenantId = None
    ) -> Response:
        """Segments and the time zone `user` go by them, for events that are applied from now on."""
        tenant = tenant_id or caller.own_tenant
        caller.require("admin", tenant)
        try:
            attributes = read_attributes(await read_body(request, MAX_ATTRIBUTES_BYTES, "16 KiB"))
        except InvalidAttributesError as error:
            raise ProblemError(422, str(error)) from error
        await threads.of(tenant, partial(users.replace, tenant, user_id, attributes))
        return _answer(attributes)

    @router.get("/v1/users/{user_id:path}/attributes", responses=_STORED, summary="A user's attributes")
    async def show_attributes(user_id: UserId, caller: Caller, tenant_id: TenantId = None) -> Response:
        tenant = tenant_id or caller.own_tenant
        caller.require("read", tenant)
        known = await run_in_threadpool(users.cached, tenant, user_id)
        return _answer(await threads.of(tenant, partial(users.of_user, tenant, user_id)) if known is None else known)

    return router


def _answer(attributes: Attributes) -> Response:
    return Response(pack_attributes(attributes), media_type="application/json")
