"""Events that come back are checked like new ones, whoever packed them."""

from datetime import timedelta

import pytest

from ingest.reingestion import event_fault
from ingest.validation import window_at
from models.events import Event

NOW = 1_762_770_600_000_000
GOOD = Event("e1", "login", "t1", "ada", NOW, NOW - 5)
WINDOW = window_at(NOW, timedelta(days=7))
DAY = 86_400_000_000


@pytest.mark.parametrize(
    "good",
    [
        {}, {"value": float(2**53), "increment": float(-(2**53))},
        {"payload": b'{"a":[1]}', "attributes": b'{"p":"x"}'},
        {"source": "app", "timezone": "Europe/Berlin"}, {"occurred_at": NOW - 7 * DAY},
    ],
)  # fmt: skip
def test_what_the_receiver_took_once_it_takes_again(good):
    assert event_fault(GOOD._replace(**good), WINDOW) is None


@pytest.mark.parametrize(
    ("bad", "code", "field"),
    [
        ({"occurred_at": NOW - 7 * DAY - 1}, "too_old", "occurred_at"),
        ({"occurred_at": NOW + DAY}, "in_future", "occurred_at"),
        ({"occurred_at": "now"}, "wrong_type", "occurred_at"),
        ({"accepted_at": None}, "wrong_type", "accepted_at"),
        ({"event_id": 5}, "wrong_type", "event_id"),
        ({"tenant_id": None}, "wrong_type", "tenant_id"),
        ({"user_id": "a\nb"}, "unprintable", "user_id"),
        ({"tenant_id": "a:b"}, "invalid_tenant", "tenant_id"),
        ({"value": float("inf")}, "number_too_large", "value"),
        ({"increment": "much"}, "wrong_type", "increment"),
        ({"payload": "{}"}, "wrong_type", "payload"),
        ({"payload": b"{"}, "wrong_type", "payload"),
        ({"payload": b"[]"}, "wrong_type", "payload"),
        ({"attributes": b"[]"}, "wrong_type", "attributes"),
        ({"timezone": "Mars/Olympus"}, "unknown_timezone", "timezone"),
    ],
)
def test_what_it_would_not_take_is_refused_with_the_code_of_new_events(bad, code, field):
    fault = event_fault(GOOD._replace(**bad), WINDOW)
    assert fault is not None
    assert (fault.code, fault.field) == (code, field)
