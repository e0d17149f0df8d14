"""HTTP in: ``POST /v1/events`` and ``POST /v1/ags/{topic}``.

A body is read and parsed here because one event of a batch may be wrong while the others are
right; out goes the receipt, once the journal has what was accepted.
"""

import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Mapping
from math import inf, nan
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from ingest.accelbyte import LOGIN_TOPIC, STATISTIC_TOPIC, AgsReader, TopicReader, parse_topic
from ingest.openapi import AGS_BODY, ANSWERS, EVENTS_BODY, UNKNOWN_TOPIC, AgsAnswer, EventsAnswer
from ingest.pipeline import IngestPipeline, Receipt
from models.access.callers import ALL_TENANTS, Caller
from models.declarations.error_codes import ProblemKind
from models.events import MAX_EXACT
from web.problems import ProblemError
from web.requests import PlainRoute, caller_of, read_body

MAX_EVENTS = 1_000
_LONGEST_INTEGER = len(str(MAX_EXACT)) + 1
_CONSTANTS = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
_OTHER_ENCODINGS = (BOM_UTF16_LE, BOM_UTF16_BE)
_ENCODED = "Content-Encoding: send the body as it is, compressed ones are not taken"


def build_router(pipeline: IngestPipeline, ags: AgsReader) -> APIRouter:
    """The routes for events, over one ingest pipeline."""
    router = APIRouter(tags=["events"], route_class=PlainRoute)

    @router.post(
        "/v1/events",
        status_code=202,
        response_model=EventsAnswer,
        responses=ANSWERS,
        openapi_extra={"requestBody": EVENTS_BODY},
        summary="Take one event, or up to 1,000",
    )
    async def take_events(request: Request) -> Response:
        """202 once every good event is durable; each refused one is named with its index, field and code."""
        caller = caller_of(request)
        caller.require("ingest", caller.own_tenant)  # before a body is read for nothing
        pipeline.check(caller)
        items, size = await _read_items(request)
        claim(items, caller)
        receipt = await pipeline.take(items, caller=caller, size=size)
        return _answer(receipt, {"accepted": receipt.accepted, "rejected": receipt.rejected})

    @router.post(
        "/v1/ags/{topic}",
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
            raise ProblemError(404, f"the topics are <namespace>.{LOGIN_TOPIC} and <namespace>.{STATISTIC_TOPIC}")
        # An event that names another namespace than its topic is refused by itself.
        caller = caller_of(request)
        caller.require("ingest", known.namespace)
        pipeline.check(caller)
        items, size = await _read_items(request)
        receipt = await pipeline.take(items, TopicReader(ags, known), caller=caller, size=size)
        body = {"accepted": receipt.accepted, "rejected": receipt.rejected, "ignored": receipt.ignored}
        return _answer(receipt, body)

    return router


def _given(named: Any, otherwise: str) -> Any:
    return otherwise if named is None else named


def claim(items: Iterable[Any], caller: Caller) -> None:
    """Let events belong to the caller's tenant unless they name one, which must be the caller's.

    One event of another tenant refuses the whole request, before any event is validated: a sender that is not what it
    says is not worked for in part.

    Raises:
        AccessDeniedError: an event names a tenant that the caller may not write to.
    """
    if caller.tenant_id == ALL_TENANTS:
        return
    for item in items:
        if type(item) is dict:
            named = item["tenant_id"] = _given(item.get("tenant_id"), caller.tenant_id)
            # What is no text is no tenant, and is refused as an event.
            if type(named) is str and named != caller.tenant_id:
                caller.require("ingest", named)


def _answer(receipt: Receipt, body: Mapping[str, Any]) -> Response:
    if receipt.accepted or receipt.ignored:
        return Response(orjson.dumps(body), 202, media_type="application/json")
    detail = "every event of the request was refused" if receipt.rejected else "the request holds no event"
    raise ProblemError(ProblemKind.NOTHING_ACCEPTED, detail, **body)


def _parse_body(body: bytes) -> Any:
    """What the body says: strict and fast where it is well formed, else as tolerant as naming a single fault needs.

    One number out of range or half a surrogate pair makes a body no JSON for a strict parser. Its event is what is
    wrong, not its neighbours: so such a body is read again by a parser that lets these values through to the validation
    of events. A byte order mark is skipped; of a key that is there twice, the last value counts.

    Numbers beyond 2^53 may come as infinities, and texts may hold halves of surrogate pairs: neither is valid in an
    event, and the validation names it.

    Raises:
        ValueError: the body is no JSON; the text says why, in words for the caller.
    """
    body = body.removeprefix(BOM_UTF8)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        strict = error
    if not body.strip():
        raise ValueError("it is empty")
    if body.startswith(_OTHER_ENCODINGS) or b"\0" in body[:4]:
        raise ValueError("it is in UTF-16 or UTF-32, and JSON is sent in UTF-8")
    try:
        return _DECODER.decode(body.decode(errors="surrogatepass"))
    except RecursionError:
        raise ValueError("it nests too deep") from None
    except ValueError:
        raise ValueError(str(strict)) from None


def _integer(digits: str) -> float:
    """A number that is no whole one, since Python takes its time for thousands of digits, and refuses more."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else inf


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_CONSTANTS.__getitem__)


async def _read_items(request: Request) -> tuple[list[Any], int]:
    """The events of a body, that is the elements of an array, or the one value it is; and the size of the body."""
    body = await _read_body(request)
    try:
        parsed = _parse_body(body)
    except ValueError as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from error
    items = parsed if type(parsed) is list else [parsed]
    if len(items) > MAX_EVENTS:
        raise ProblemError(413, "a request must not hold more than 1,000 events")
    return items, len(body)


async def _read_body(request: Request) -> bytes:
    """The body as it was sent."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError(415, _ENCODED)  # what it unpacks to would have no bound
    return await read_body(request)
