"""Public texts of errors that pass, over HTTP and gRPC alike.

The texts of drivers name addresses, users and statements, so callers get one fixed sentence for each kind of error, and
the log gets the text.
"""

from time import monotonic

import structlog

from models.errors import (
    AttributesUnknownError,
    BrokerUnavailableError,
    DatabaseUnavailableError,
    HydrationRacedError,
    JournalFullError,
    NotReadyError,
    RateLimitedError,
    RetryableError,
    StateUnavailableError,
)

_WRITTEN_FOR_CALLERS = (JournalFullError, RateLimitedError, NotReadyError)
_SENTENCES: dict[type, str] = {
    StateUnavailableError: "the state Redis does not take this now: send it again later",
    DatabaseUnavailableError: "PostgreSQL cannot be asked now: try again later",
    BrokerUnavailableError: "the broker cannot be asked now: try again later",
    HydrationRacedError: "the user's record kept changing: try again later",
    AttributesUnknownError: "the user's attributes are not known now: try again later",
    RetryableError: "this cannot be done now: try again later",
}
_LOG_EVERY_S = 1.0
_noted: dict[type, float] = {}
"""When each kind of error was logged last: in an outage every request has one."""

log = structlog.get_logger()


def public_message(error: Exception) -> str:
    """The public text of an error; its own text is logged, at most once a second for each kind."""
    if isinstance(error, _WRITTEN_FOR_CALLERS):
        return str(error)
    kind, now = type(error), monotonic()
    if now - _noted.get(kind, float("-inf")) >= _LOG_EVERY_S:
        _noted[kind] = now
        log.warning("request_put_off", kind=kind.__name__, error=str(error))
    return next((_SENTENCES[one] for one in kind.__mro__ if one in _SENTENCES), _SENTENCES[RetryableError])
