"""A body as JSON: strict and fast where all of it is well formed, else as tolerant as naming a single fault needs.

One number out of range or half a surrogate pair makes a body no JSON for a strict parser. Its event is what is wrong,
not its neighbours: so such a body is read again by a parser that lets these values through to the validation of events.
"""

import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from math import inf, nan
from typing import Any

import orjson

from models.events import MAX_EXACT

_LONGEST_INTEGER = len(str(MAX_EXACT)) + 1
_CONSTANTS = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
_OTHER_ENCODINGS = (BOM_UTF16_LE, BOM_UTF16_BE)


def parse_body(body: bytes) -> Any:
    """What the body says. A byte order mark is skipped; of a key that is there twice, the last value counts.

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
