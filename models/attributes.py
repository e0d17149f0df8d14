"""A user's attributes, for rules with segments or the user's own time zone.

JSON text becomes an object whose form is the same however often it is stored and read back.

| part | may be |
|---|---|
| object | up to 32 attributes, up to 16 KiB of JSON text |
| name | a letter or ``_``, then up to 63 letters, digits, ``_``, ``.`` or ``-``; ASCII |
| value | a text of up to 256 printable characters, a number within 2^53, or a boolean |
| ``timezone`` | an IANA name |
"""

import re
from typing import Any
from unicodedata import category

import orjson

from models.errors import InvalidAttributesError
from models.exact import is_exact, is_zone

Attribute = str | int | float | bool
Attributes = dict[str, Attribute]

MAX_ATTRIBUTES = 32
MAX_ATTRIBUTES_BYTES = 16 * 1024
ATTRIBUTE_NAME = "[A-Za-z_][A-Za-z0-9_.-]{0,63}"
"""What the whole name of an attribute must match, as a regular expression."""
TIMEZONE = "timezone"
"""The attribute that says in which time zone a user's days begin."""

_MAX_TEXT = 256
_NAME_SHOWN = 64
_UNPRINTABLE = frozenset({"Cc", "Zl", "Zp", "Cs"})


def read_attributes(text: bytes) -> Attributes:
    """Read and check an object of attributes.

    Raises:
        InvalidAttributesError: it has faults; the text names each attribute and what is wrong with it.
    """
    if len(text) > MAX_ATTRIBUTES_BYTES:
        raise InvalidAttributesError("attributes must not be larger than 16 KiB of JSON text")
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidAttributesError(f"attributes must be JSON: {error}") from error
    if type(given) is not dict:
        raise InvalidAttributesError("attributes must be a JSON object")
    if len(given) > MAX_ATTRIBUTES:
        raise InvalidAttributesError(f"attributes must not be more than {MAX_ATTRIBUTES}, not {len(given)}")
    faults = [f"{name[:_NAME_SHOWN]} {fault}" for name, value in given.items() if (fault := _fault(name, value))]
    if faults:
        raise InvalidAttributesError("; ".join(faults))
    return {name: _plain(value) for name, value in given.items()}


def pack_attributes(attributes: Attributes) -> bytes:
    """The one JSON text of these attributes."""
    return orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)


def unpack_attributes(text: bytes) -> Attributes:
    """Read what ``pack_attributes`` wrote."""
    attributes: Attributes = orjson.loads(text)
    return attributes


def zone_of(attributes: Attributes) -> str | None:
    """The user's own time zone, where the attributes name one that is known here."""
    zone = attributes.get(TIMEZONE)
    return zone if isinstance(zone, str) and is_zone(zone) else None


def _fault(name: str, value: Any) -> str:
    """What is wrong with an attribute, as the predicate of its name; empty if nothing is."""
    if not re.fullmatch(ATTRIBUTE_NAME, name):
        return "is no name of an attribute: a letter or '_', then up to 63 of the characters A-Z a-z 0-9 _ . -"
    if name == TIMEZONE and not (isinstance(value, str) and is_zone(value)):
        return "must be an IANA time zone name, such as Europe/Berlin"
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, bool) or is_exact(value):
        return ""
    if isinstance(value, int | float):
        return "must lie within -2^53 and 2^53"
    return "must be a string, a number or a boolean"


def _text_fault(text: str) -> str:
    if len(text) > _MAX_TEXT:
        return f"must not be longer than {_MAX_TEXT} characters"
    if any(category(character) in _UNPRINTABLE for character in text):
        return "must not hold control characters or line separators"
    return ""


def _plain(value: Attribute) -> Attribute:
    """A whole number as an integer, since PostgreSQL's JSON does not tell 1e3 from 1000."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
