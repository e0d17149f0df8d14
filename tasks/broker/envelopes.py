"""What a queue's item must be before kombu and Celery see it: an item that is not would end the worker, or loop.

Everything here is about messages that our own publishers never send: a stray client of the broker, a fault of a newer
version, damage. Whatever breaks the reading counts as bad, so unknown ways to be bad are caught as well.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.utils.time import maybe_iso8601
from kombu.serialization import loads as load_body
from kombu.utils.json import dumps as dump_json
from kombu.utils.json import loads as load_json

from config.shards import carries_tasks

CONTENT_TYPE = "application/x-msgpack"
"""The one serializer of tasks. It makes plain data only, so a message can bring no code."""
LONGEST_ETA = timedelta(hours=1)
"""Nothing of ours waits longer than seconds; a worker holds a message until its time has come."""
_BODY_ENCODINGS = (None, "utf-8", "base64")


class BadEnvelopeError(ValueError):
    """An item of a queue is no message; the text says why."""


def check_envelope(queue: str, item: bytes) -> None:
    """Refuse an item that a worker could not handle.

    Raises:
        BadEnvelopeError: it is no message, or for a queue of tasks no task.
    """
    try:
        message = load_json(item.decode())
        _check_texts(item, message)
        _check_message(message)
        if carries_tasks(queue):
            _check_headers(message["headers"])
            _check_body(message)
    except BadEnvelopeError:
        raise
    except Exception as error:
        raise BadEnvelopeError(f"{type(error).__name__}: {error}") from error


def _check_texts(item: bytes, message: Any) -> None:
    """Only an escape can bring half a surrogate pair, which is in no UTF-8: neither Redis nor a log would take it."""
    if b"\\u" in item:
        dump_json(message, ensure_ascii=False).encode()


def _check_message(message: Any) -> None:
    _expect(isinstance(message, dict), "it is not a JSON object")
    properties = message.get("properties")
    _expect(isinstance(properties, dict), "properties is not an object")
    _expect(_is_name(properties.get("delivery_tag")), "delivery_tag is missing or not a text")
    delivery = properties.get("delivery_info")
    _expect(isinstance(delivery, dict), "delivery_info is missing or not an object")
    for name in ("exchange", "routing_key"):
        _expect(isinstance(delivery.get(name), str), f"delivery_info has no {name}")
    _expect(properties.get("body_encoding") in _BODY_ENCODINGS, "body_encoding is unknown")
    _expect(isinstance(properties.get("priority"), int | None), "priority is not a number")
    _expect(isinstance(message.get("headers", {}), dict), "headers is not an object")


def _check_headers(headers: Mapping[str, Any]) -> None:
    for name in ("id", "task"):
        _expect(_is_name(headers.get(name)), f"header {name} is missing or not a text")
    # Ours never compress; what they unpack to has no bound.
    _expect(not headers.get("compression"), "header compression is not accepted")
    _expect(isinstance(headers.get("retries"), int | None), "header retries is not a number")
    limits = headers.get("timelimit") or [None, None]
    _expect(isinstance(limits, list) and len(limits) == 2, "header timelimit is not a pair")
    _expect(all(limit is None or _is_duration(limit) for limit in limits), "header timelimit is not of seconds")
    for name in ("eta", "expires"):
        _check_datetime(name, headers.get(name))


def _check_datetime(name: str, text: Any) -> None:
    if text is None:
        return
    _expect(isinstance(text, str), f"header {name} is not a text")
    parsed = maybe_iso8601(text)
    if parsed is None:
        raise BadEnvelopeError(f"header {name} is empty")
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    latest = datetime.now(UTC) + LONGEST_ETA
    _expect(name != "eta" or aware <= latest, f"header {name} is more than {LONGEST_ETA} ahead")
    aware.timestamp()  # not every moment has one


def _check_body(message: Mapping[str, Any]) -> None:
    _expect(message.get("content-type") == CONTENT_TYPE, f"content-type is not {CONTENT_TYPE}")
    _expect(message.get("content-encoding") == "binary", "content-encoding is not binary")
    _expect(message["properties"].get("body_encoding") == "base64", "body_encoding is not base64")
    body = load_body(b64decode(message["body"], validate=True), CONTENT_TYPE, "binary", accept={CONTENT_TYPE})
    _expect(isinstance(body, list) and len(body) == len(_PARTS), "the body is not a list of three")
    for index, (name, is_right) in enumerate(_PARTS.items()):
        _expect(is_right(body[index]), f"the body's {name} are of the wrong type")


_PARTS: dict[str, Callable[[Any], bool]] = {
    "arguments": lambda value: isinstance(value, list),
    "keywords": lambda value: isinstance(value, dict) and all(isinstance(name, str) for name in value),
    "options": lambda value: value is None or isinstance(value, dict),
}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and value >= 0


def _expect(holds: bool, why: str) -> None:
    if not holds:
        raise BadEnvelopeError(why)
