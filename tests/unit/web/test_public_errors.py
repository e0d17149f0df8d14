"""What callers are told of an error that passes: never a driver's words."""

import pytest
import structlog

from models import errors
from models.errors import Bound, JournalFullError, RateLimitedError, RetryableError
from web.problems import unavailable
from web.public_errors import public_message

SECRET = "connection to server at '10.1.2.3', port 5432 failed for user 'questline' [SQL: SELECT 1] [parameters: {}]"
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RetryableError)
]  # fmt: skip
TELLING = {"JournalFullError", "RateLimitedError", "QuotaExceededError", "NotReadyError"}
"""Those whose texts are made for callers."""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.__name__ not in TELLING])
def test_an_error_of_a_driver_is_one_fixed_sentence(kind):
    said = public_message(kind(SECRET))
    assert said
    assert said == public_message(kind("something else"))
    assert SECRET.encode() not in unavailable(kind(SECRET)).body


def test_what_was_written_for_callers_is_kept():
    for error in (JournalFullError(Bound.BYTES), RateLimitedError("2 requests a second are allowed", 1)):
        assert public_message(error) == str(error)


def test_the_details_are_in_the_log_and_do_not_flood_it(monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr("web.public_errors.monotonic", lambda: seconds[0])
    monkeypatch.setattr("web.public_errors._noted", {})
    with structlog.testing.capture_logs() as lines:
        for _ in range(5):
            public_message(errors.DatabaseUnavailableError(SECRET))
        public_message(errors.StateUnavailableError("redis"))
        seconds[0] += 1
        public_message(errors.DatabaseUnavailableError("later"))
        public_message(JournalFullError(Bound.AGE))
    assert [(line["kind"], line["error"]) for line in lines] == [
        ("DatabaseUnavailableError", SECRET),
        ("StateUnavailableError", "redis"),
        ("DatabaseUnavailableError", "later"),
    ]
