"""Every error code with its meaning and remedy. Codes do not change.

``make docs-tables`` writes ``docs/reference/error-codes.md`` from it. Dead letters have reasons of their own
(``models/dead_letter_reasons.py``).
"""

from enum import StrEnum
from typing import Self

_AGAIN = "send the same events with the same ids again after `Retry-After`: what had been accepted is known"
_MEND = "mend the request; the same one fails again"


# fmt: off
class EventCode(StrEnum):
    """Why one event is refused; in the field ``code`` of a rejection and in gRPC's trailer ``questline-code``."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        """The code with its meaning."""
        member = str.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member

    NOT_AN_OBJECT = "not_an_object", "the event is not a JSON object (field `$`)"
    UNKNOWN_FIELD = "unknown_field", "an event has no such field"
    MISSING_FIELD = "missing_field", "it is required"
    WRONG_TYPE = "wrong_type", "it is of another JSON type"
    EMPTY = "empty", "it holds no character"
    TOO_LONG = "too_long", "it holds more characters than allowed"
    UNPRINTABLE = "unprintable", "it holds a control character or a line separator; in a payload: NUL"
    INVALID_TENANT = "invalid_tenant", "it is not 1 to 64 of the characters `A-Z a-z 0-9 . _ -`"
    INVALID_TIME = "invalid_time", "it is not an ISO 8601 date and time with an offset"
    IN_FUTURE = "in_future", "it is more than 5 minutes ahead of the receiver's clock"
    TOO_OLD = "too_old", "it is older than `MAX_LATENESS`"
    UNKNOWN_TIMEZONE = "unknown_timezone", "it is not the name of an IANA time zone, such as `Europe/Berlin`"
    NUMBER_TOO_LARGE = "number_too_large", "it is, or holds, a number that is not finite or lies beyond 2^53"
    PAYLOAD_TOO_LARGE = "payload_too_large", "it is more than 16 KiB of JSON text"
    PAYLOAD_TOO_DEEP = "payload_too_deep", "it nests deeper than 32 levels"
    NAMESPACE_MISMATCH = "namespace_mismatch", "AccelByte events: it is not the namespace of the topic"
    UNDECODABLE = "undecodable", "gRPC: the bytes are no message of this method"


class ProblemKind(StrEnum):
    """Why a request fails; the last part of the problem's ``type``, ``urn:questline:problem:...``."""

    status: int
    meaning: str
    advice: str

    def __new__(cls, kind: str, status: int, meaning: str, advice: str) -> Self:
        """The kind with the HTTP status it is answered with."""
        member = str.__new__(cls, kind)
        member._value_, member.status, member.meaning, member.advice = kind, status, meaning, advice
        return member

    MALFORMED_REQUEST = "malformed-request", 400, "the bytes are not HTTP, or the address is not UTF-8", _MEND
    UNAUTHENTICATED = "unauthenticated", 401, "no key was sent, or none that is valid", "send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
    ACCESS_DENIED = "access-denied", 403, "the key does not allow this, or a page of another site asks", "use a key of the scope and the tenant that `detail` names"
    TOO_SLOW = "too-slow", 408, "the head, or the body, has not arrived `REQUEST_TIMEOUT` after it began", "send smaller requests, or look at the network; the events may be sent again"
    BODY_TOO_LARGE = "body-too-large", 413, "a body of more than 1 MiB, whatever the route; some take less", "send fewer events in one request"
    URL_TOO_LONG = "url-too-long", 414, "a URL of more than 8 KiB", _MEND
    INVALID_REQUEST = "invalid-request", 422, "a parameter or a field that the route does not take", _MEND
    NOTHING_ACCEPTED = "nothing-accepted", 422, "every event was refused, or there was none", "mend the events by the codes in `rejected`"
    RATE_LIMITED = "rate-limited", 429, "the key has made as many requests as it may (`RATE_LIMIT`)", "try again after `Retry-After`, with more events in one request"
    QUOTA_EXCEEDED = "quota-exceeded", 429, "the tenant or the key has sent as many events, bytes or new users as it may", "try again after `Retry-After`; an operator may raise it by `questline quotas`"
    HEAD_TOO_LARGE = "head-too-large", 431, "a head of more than 32 KiB or 100 headers", _MEND
    JOURNAL_FULL = "journal-full", 503, "a bound is reached: workers or PostgreSQL are behind in a shard that the request has events of, Redis is short of memory, an older PostgreSQL was restored, or the number of shards changes; `detail` says which", f"{_AGAIN}; events of other shards may have been accepted all the same"
    NOT_READY = "not-ready", 503, "no event can go the whole way yet; `detail` says where it would stop", _AGAIN
    UNAVAILABLE = "unavailable", 503, "a server that the request needs is away", _AGAIN
    TOO_MANY_BODIES = "too-many-bodies", 503, "bodies without an answer yet, in all connections together, reach 32 MiB", _AGAIN
    TENANT_BUSY = "tenant-busy", 503, "the tenant's share of connections and bodies is used up; others are not refused", _AGAIN
    TOO_MANY_CONNECTIONS = "too-many-connections", 503, "more than 10,000 connections of one receiver, or all but 256 of the files it may open", _AGAIN

    # fmt: on
    @property
    def urn(self) -> str:
        """The problem's ``type``."""
        return f"urn:questline:problem:{self}"
