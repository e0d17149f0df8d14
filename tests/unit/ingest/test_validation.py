"""One event in, one event or its faults out."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.validation import MAX_FAULTS, Fault, read_event, window_at
from models.declarations.error_codes import EventCode
from models.events import MAX_EXACT, Event

NOW = 1_762_770_600_000_000  # 2025-11-10T10:30:00Z
WINDOW = window_at(NOW, timedelta(days=7))
GOOD = {"event_id": "e1", "event_type": "login", "user_id": "ada"}


def nested(depth: int) -> dict[str, Any]:
    """An object of so many levels."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


def faults_of(item: Any) -> list[Fault]:
    found = read_event(item, WINDOW)
    assert isinstance(found, list)
    return found


def to_datetime(**ahead: int) -> str:
    return (datetime(2025, 11, 10, 10, 30, tzinfo=UTC) + timedelta(**ahead)).isoformat()


def test_an_event_with_the_required_fields_gets_the_defaults():
    assert read_event(GOOD, WINDOW) == Event("e1", "login", "default", "ada", NOW, NOW)


def test_every_field_arrives_in_the_event():
    given_event = {
        **GOOD,
        "tenant_id": "my.game-1_A",
        "occurred_at": "2025-11-10T11:29:59.123456789+01:00",
        "timezone": "America/New_York",
        "source": "app",
        "value": 42,
        "payload": {"kills": 3, "map": "wüste"},
    }
    assert read_event(given_event, WINDOW) == Event(
        "e1",
        "login",
        "my.game-1_A",
        "ada",
        NOW - 876_544,
        NOW,
        42.0,
        None,
        "app",
        '{"kills":3,"map":"wüste"}'.encode(),
        "America/New_York",
    )


@pytest.mark.parametrize("field", ["occurred_at", "timezone", "source", "value", "payload"])
def test_a_null_optional_field_is_an_absent_one(field):
    assert read_event({**GOOD, field: None}, WINDOW) == read_event(GOOD, WINDOW)


@pytest.mark.parametrize("field", ["event_id", "event_type", "user_id"])
@pytest.mark.parametrize("text", [":", "|", "a:b|c", " ", "ä" * 256, "😀👩‍👩‍👧", "\u202e", "{s07}", '"'])
def test_ids_take_any_printable_unicode(field, text):
    assert isinstance(read_event({**GOOD, field: text}, WINDOW), Event)


@pytest.mark.parametrize("value", [0, -0.0, 1.5, -3, MAX_EXACT, -MAX_EXACT, 5e-324, 9007199254740991.0])
def test_exact_numbers_are_taken_as_they_are(value):
    event = read_event({**GOOD, "value": value, "payload": {"n": [value]}}, WINDOW)
    assert isinstance(event, Event)
    assert event.value == value
    assert orjson.loads(event.payload) == {"n": [value]}


@pytest.mark.parametrize(
    "text",
    [
        "2025-11-10T10:30:00Z",
        "2025-11-10t10:30:00z",
        "2025-11-10 10:30:00+00:00",
        "20251110T103000Z",
        "2025-11-10T12:30+02",
    ],
)
def test_iso_8601_with_an_offset_is_read(text):
    event = read_event({**GOOD, "occurred_at": text}, WINDOW)
    assert isinstance(event, Event)
    assert event.occurred_at == NOW


@pytest.mark.parametrize("ahead", [{"minutes": 5}, {"days": -7}, {"seconds": 0}])
def test_the_ends_of_the_window_belong_to_it(ahead):
    assert isinstance(read_event({**GOOD, "occurred_at": to_datetime(**ahead)}, WINDOW), Event)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"colour": "red"}, "unknown_field", "colour"),
        ({"increment": 1}, "unknown_field", "increment"),
        ({"accepted_at": 1}, "unknown_field", "accepted_at"),
        ({"event_id": ""}, "empty", "event_id"),
        ({"event_id": "x" * 257}, "too_long", "event_id"),
        ({"event_id": 7}, "wrong_type", "event_id"),
        ({"event_id": None}, "wrong_type", "event_id"),
        ({"user_id": "a\0b"}, "unprintable", "user_id"),
        ({"user_id": "a\nb"}, "unprintable", "user_id"),
        ({"user_id": "ada\n"}, "unprintable", "user_id"),
        ({"user_id": "a\x7fb"}, "unprintable", "user_id"),
        ({"user_id": "a\x85b"}, "unprintable", "user_id"),
        ({"user_id": "a\u2028b"}, "unprintable", "user_id"),
        ({"event_type": "a\u2029b"}, "unprintable", "event_type"),
        ({"event_type": ["login"]}, "wrong_type", "event_type"),
        ({"tenant_id": "a:b"}, "invalid_tenant", "tenant_id"),
        ({"tenant_id": ""}, "invalid_tenant", "tenant_id"),
        ({"tenant_id": "t" * 65}, "invalid_tenant", "tenant_id"),
        ({"tenant_id": "t\n"}, "invalid_tenant", "tenant_id"),
        ({"tenant_id": "ä"}, "invalid_tenant", "tenant_id"),
        ({"tenant_id": 1}, "wrong_type", "tenant_id"),
        ({"source": "s" * 257}, "too_long", "source"),
        ({"source": "a\tb"}, "unprintable", "source"),
        ({"source": 1}, "wrong_type", "source"),
        ({"value": True}, "wrong_type", "value"),
        ({"value": "1"}, "wrong_type", "value"),
        ({"value": {}}, "wrong_type", "value"),
        ({"value": MAX_EXACT + 1}, "number_too_large", "value"),
        ({"value": -MAX_EXACT - 1}, "number_too_large", "value"),
        ({"value": float(MAX_EXACT)}, "number_too_large", "value"),
        ({"value": 1e300}, "number_too_large", "value"),
        ({"value": float("nan")}, "number_too_large", "value"),
        ({"value": float("-inf")}, "number_too_large", "value"),
        ({"occurred_at": 1_762_770_600}, "wrong_type", "occurred_at"),
        ({"occurred_at": "1762770600"}, "invalid_time", "occurred_at"),
        ({"occurred_at": "2025-11-10T10:30:00"}, "invalid_time", "occurred_at"),
        ({"occurred_at": "2025-11-10"}, "invalid_time", "occurred_at"),
        ({"occurred_at": "2025-11-10x10:30:00Z"}, "invalid_time", "occurred_at"),
        ({"occurred_at": "2025-02-30T10:30:00Z"}, "invalid_time", "occurred_at"),
        ({"occurred_at": "2025-11-10T10:30:00+99:00"}, "invalid_time", "occurred_at"),
        ({"occurred_at": "٢٠٢٥-11-10T10:30:00Z"}, "invalid_time", "occurred_at"),
        ({"occurred_at": ""}, "invalid_time", "occurred_at"),
        ({"occurred_at": "yesterday"}, "invalid_time", "occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59-23:59"}, "in_future", "occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00+23:59"}, "too_old", "occurred_at"),
        ({"occurred_at": to_datetime(minutes=5, microseconds=1)}, "in_future", "occurred_at"),
        ({"occurred_at": to_datetime(days=-7, microseconds=-1)}, "too_old", "occurred_at"),
        ({"timezone": 1}, "wrong_type", "timezone"),
        ({"timezone": ""}, "unknown_timezone", "timezone"),
        ({"timezone": "Mars/Olympus"}, "unknown_timezone", "timezone"),
        ({"timezone": "europe/berlin"}, "unknown_timezone", "timezone"),
        ({"timezone": "Europe"}, "unknown_timezone", "timezone"),
        ({"timezone": "localtime"}, "unknown_timezone", "timezone"),
        ({"timezone": "../../etc/passwd"}, "unknown_timezone", "timezone"),
        ({"timezone": "UTC\0"}, "unknown_timezone", "timezone"),
        ({"timezone": "+02:00"}, "unknown_timezone", "timezone"),
        ({"attributes": {}}, "unknown_field", "attributes"),
        ({"payload": []}, "wrong_type", "payload"),
        ({"payload": "{}"}, "wrong_type", "payload"),
        ({"payload": {"a": "x" * 16384}}, "payload_too_large", "payload"),
        ({"payload": nested(33)}, "payload_too_deep", "payload"),
        ({"payload": {"a": [{"b": MAX_EXACT + 1}]}}, "number_too_large", "payload"),
        ({"payload": {"a": 1e16}}, "number_too_large", "payload"),
        ({"payload": {"a": ["x\0"]}}, "unprintable", "payload"),
        ({"payload": {"a": {"\0": 1}}}, "unprintable", "payload"),
    ],
)
def test_what_is_wrong_is_refused_with_its_code_and_field(change, code, field):
    [fault] = faults_of({**GOOD, **change})
    assert (fault.code, fault.field) == (code, field)
    assert fault.message.startswith(f"{field} ")


def test_every_fault_of_an_event_is_told():
    item = {"event_id": 5, "event_type": "", "user_id": "ada", "extra": 1, "occurred_at": "1999-01-01T00:00:00Z"}
    assert [(fault.code, fault.field) for fault in faults_of(item)] == [
        ("wrong_type", "event_id"),
        ("empty", "event_type"),
        ("unknown_field", "extra"),
        ("too_old", "occurred_at"),
    ]
    assert len(faults_of({**GOOD, **{f"x{number}": 1 for number in range(500)}})) == MAX_FAULTS


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("eventId", "write event_id"),
        ("EventType", "write event_type"),
        ("user-id", "write user_id"),
        ("occurredAt", "write occurred_at"),
        ("timestamp", "write occurred_at"),
        ("properties", "write payload"),
        ("colour", "is not a field of an event"),
    ],
)
def test_a_field_as_other_systems_write_it_gets_a_hint(field, hint):
    [fault] = faults_of({**GOOD, field: "x"})
    assert fault.code == "unknown_field"
    assert fault.reason.endswith(hint)


def test_events_in_a_wrapper_get_a_hint():
    [wrapper] = [fault for fault in faults_of({"events": [GOOD]}) if fault.field == "events"]
    assert wrapper.reason.endswith("send the events themselves, as a JSON array")


@pytest.mark.parametrize("name", ["tenant_id", "occurred_at", "timezone", "source", "value", "payload"])
def test_null_counts_as_left_out(name):
    event = read_event({**GOOD, name: None}, WINDOW)
    assert event == read_event({key: value for key, value in GOOD.items() if key != name}, WINDOW)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
@pytest.mark.parametrize("field", ["event_id", "event_type", "user_id", "tenant_id", "source"])
def test_half_a_surrogate_pair_is_refused_where_it_stands(field, text):
    [fault] = faults_of({**GOOD, field: text})
    assert (fault.code, fault.field) == ("unprintable", field)


def test_half_a_surrogate_pair_in_a_payload_or_a_name_is_refused():
    for payload in ({"a": "\ud800"}, {"\ud800": 1}, {"a": [{"b": "\udc00"}]}):
        assert [(fault.code, fault.field) for fault in faults_of({**GOOD, "payload": payload})] == [
            ("unprintable", "payload")
        ]
    [fault] = faults_of({**GOOD, "\ud800": 1})
    assert fault == ("unprintable", "$", "has a field whose name is not valid Unicode")


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_none_is_too_large(number):
    assert [(fault.code, fault.field) for fault in faults_of({**GOOD, "value": number})] == [
        ("number_too_large", "value")
    ]
    assert [fault.code for fault in faults_of({**GOOD, "payload": {"a": [number]}})] == ["number_too_large"]


@pytest.mark.parametrize("field", ["event_id", "event_type", "user_id"])
def test_a_required_field_that_is_missing_is_named(field):
    [fault] = faults_of({name: text for name, text in GOOD.items() if name != field})
    assert fault == Fault("missing_field", field, "is required")


@pytest.mark.parametrize("item", [None, 1, "login", True, [], [GOOD]])
def test_what_is_no_object_is_refused_as_a_whole(item):
    [fault] = faults_of(item)
    assert fault == Fault("not_an_object", "$", "must be a JSON object")
    assert fault.message == "the event must be a JSON object"


def test_payloads_at_the_bounds_are_taken():
    at_size = {"a": "x" * (16384 - len('{"a":""}'))}
    assert isinstance(read_event({**GOOD, "payload": at_size}, WINDOW), Event)
    assert isinstance(read_event({**GOOD, "payload": nested(32)}, WINDOW), Event)


def test_an_unknown_field_of_any_length_is_named_briefly():
    [fault] = faults_of({**GOOD, "f" * 5000: 1})
    assert fault.field == "f" * 64


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["event_id", "event_type", "user_id", "tenant_id", "occurred_at", "timezone", "source", "value", "payload", "x"]
)
DOCUMENTED = set(EventCode)


@given(JSON | st.dictionaries(FIELDS, JSON))
def test_no_json_value_breaks_the_reader_and_every_refusal_is_documented(item):
    _holds(item)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("tenant_id", "occurred_at", "timezone", "source", "value", "payload"), JSON)
    )
)
def test_no_field_of_a_good_event_breaks_the_reader(change):
    _holds({**GOOD, **change})


@given(st.text(alphabet="0123456789-+:.TWZ ", max_size=40))
def test_no_text_breaks_the_reading_of_times(text):
    _holds({**GOOD, "occurred_at": text})


def _holds(item: Any) -> None:
    outcome = read_event(item, WINDOW)
    if isinstance(outcome, list):
        assert outcome
        for fault in outcome:
            assert fault.code in DOCUMENTED
            assert fault.reason
            orjson.dumps([*fault])  # it can be answered
    else:
        assert WINDOW.oldest <= outcome.occurred_at <= WINDOW.newest
        assert type(outcome.payload) is bytes
        assert outcome.value is None or abs(outcome.value) <= MAX_EXACT
