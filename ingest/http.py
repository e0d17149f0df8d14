"""HTTP in: ``POST /v1/events`` and ``POST /v1/ags/{topic}``.

In comes a body, which is read and parsed here because one event of a batch may be wrong while the others are
right; out goes the receipt, once the journal has what was accepted.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from ingest.accelbyte import LOGIN_TOPIC, STATISTIC_TOPIC, AgsReader, parse_topic
from ingest.json_body import parse_body
from ingest.pipeline import Intake, Receipt
from models.access import caller_noted
from web.authentication import claim
from web.openapi import AGS_BODY, ANSWERS, EVENTS_BODY, UNKNOWN_TOPIC, AgsAnswer, EventsAnswer
from web.problems import problem

MAX_BODY_BYTES = 1024 * 1024
MAX_EVENTS = 1_000
_ENCODED = "Content-Encoding: send the body as it is, compressed ones are not taken"
_TOO_LARGE = "the body must not be larger than 1 MiB"


def build_router(intake: Intake, ags: AgsReader) -> APIRouter:
    """The receiver's routes over one intake."""
    router = APIRouter(prefix="/v1", tags=["events"])

    @router.post(
        "/events",
        status_code=202,
        response_model=EventsAnswer,
        responses=ANSWERS,
        openapi_extra={"requestBody": EVENTS_BODY},
        summary="Take one event, or up to 1,000",
    )
    async def take_events(request: Request) -> Response:
        """202 once every good event is durable; each refused one is named with its index, field and code."""
        caller = caller_noted(request.state)
        caller.require("ingest", caller.own_tenant)  # before a body is read for nothing
        intake.check(caller)
        items, size = await _read_items(request)
        claim(items, caller)
        receipt = await intake.take(items, caller=caller, size=size)
        return _answer(receipt, {"accepted": receipt.accepted, "rejected": receipt.rejected})

    @router.post(
        "/ags/{topic}",
        status_code=202,
        response_model=AgsAnswer,
        responses={**ANSWERS, **UNKNOWN_TOPIC},
        openapi_extra={"requestBody": AGS_BODY},
        summary="Take AccelByte login and statistic events",
    )
    async def take_ags_events(topic: str, request: Request) -> Response:
        """Takes what AccelByte publishes, as it stands; `ignored` counts events of other namespaces."""
        known = parse_topic(topic)
        if known is None:
            raise HTTPException(404, f"the topics are <namespace>.{LOGIN_TOPIC} and <namespace>.{STATISTIC_TOPIC}")
        # An event that names another namespace than its topic is refused by itself.
        caller = caller_noted(request.state)
        caller.require("ingest", known.namespace)
        intake.check(caller)
        items, size = await _read_items(request)
        receipt = await intake.take(items, partial(ags.read_json, topic=known), caller=caller, size=size, id_field="id")
        body = {"accepted": receipt.accepted, "rejected": receipt.rejected, "ignored": receipt.ignored}
        return _answer(receipt, body)

    return router


def _answer(receipt: Receipt, body: Mapping[str, Any]) -> Response:
    if receipt.accepted or receipt.ignored:
        return Response(orjson.dumps(body), 202, media_type="application/json")
    detail = "every event of the request was refused" if receipt.rejected else "the request holds no event"
    return problem(422, detail, kind="nothing-accepted", **body)


async def _read_items(request: Request) -> tuple[list[Any], int]:
    """The events of a body, that is the elements of an array, or the one value it is; and the size of the body."""
    body = await _read_body(request)
    try:
        parsed = parse_body(body)
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    items = parsed if type(parsed) is list else [parsed]
    if len(items) > MAX_EVENTS:
        raise HTTPException(413, "a request must not hold more than 1,000 events")
    return items, len(body)


async def _read_body(request: Request) -> bytes:
    """The body, never more of it in memory than the limit, whatever its Content-Length says."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, _ENCODED)  # what it unpacks to would have no bound
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise HTTPException(413, _TOO_LARGE)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE)
    except ClientDisconnect as error:
        raise HTTPException(400, "the body ended too early") from error
    return bytes(body)
