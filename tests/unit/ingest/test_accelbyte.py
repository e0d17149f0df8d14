"""AccelByte events as events of ours."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.accelbyte import LOGIN_TOPIC, STATISTIC_TOPIC, AgsReader, Topic, parse_topic
from ingest.validation import window_at
from models.events import MAX_EXACT, Event

NOW = 1_762_770_600_000_000
WINDOW = window_at(NOW, timedelta(days=7))
LOGIN = Topic("mygame", LOGIN_TOPIC)
STATISTIC = Topic("mygame", STATISTIC_TOPIC)
LOGGED_IN = {"id": "event-123", "payload": {"userId": "abc123", "namespace": "mygame"}}
UPDATED: dict[str, Any] = {
    "id": "event-456",
    "payload": {"userId": "abc123", "namespace": "mygame", "statCode": "match_wins", "value": 42.0},
}
READER = AgsReader(None)


def updated(**change: Any) -> dict[str, Any]:
    return {**UPDATED, "payload": {**UPDATED["payload"], **change}}


def deep(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = [value]
    return value


def read(item: Any, topic: Topic = STATISTIC, reader: AgsReader = READER) -> Any:
    return reader.read_json(item, WINDOW, topic)


def test_the_seeds_login_event_becomes_a_login():
    assert read(LOGGED_IN, LOGIN) == Event("event-123", "login", "mygame", "abc123", NOW, NOW, source="ags")


def test_the_seeds_statistic_event_becomes_a_value_of_its_code():
    assert read(UPDATED) == Event(
        "event-456", "statistic:match_wins", "mygame", "abc123", NOW, NOW, value=42.0, source="ags"
    )


def test_latest_value_and_inc_are_read_beside_fields_of_no_concern():
    item = {
        "id": "1",
        "version": 1,
        "userId": "outer",
        "namespace": "mygame",
        "timestamp": "2025-11-10T10:29:59.5Z",
        "payload": {"statCode": "wins", "latestValue": 7, "inc": -2.5, "updateStrategy": "INCREMENT"},
    }
    event = read(item)
    assert isinstance(event, Event)
    assert (event.user_id, event.value, event.increment) == ("outer", 7.0, -2.5)
    assert event.occurred_at == NOW - 500_000


def test_a_login_needs_no_payload_when_the_event_names_the_user():
    event = read({"id": "1", "userId": "ada"}, LOGIN)
    assert isinstance(event, Event)
    assert (event.tenant_id, event.user_id) == ("mygame", "ada")


def test_without_an_id_equal_content_with_a_time_is_one_event():
    timed = {"timestamp": "2025-11-10T10:00:00Z", "payload": {"userId": "ada", "namespace": "mygame"}}
    reordered = {"payload": {"namespace": "mygame", "userId": "ada"}, "timestamp": "2025-11-10T10:00:00Z"}
    other = {**timed, "sessionId": "2"}
    first, same, another = (read(item, LOGIN).event_id for item in (timed, reordered, other))
    assert first == same != another


def test_without_an_id_and_a_time_every_event_is_new():
    untimed = {"id": "", "payload": {"userId": "ada"}}
    assert read(untimed, LOGIN).event_id != read(untimed, LOGIN).event_id


def test_events_of_other_namespaces_are_ignored_where_one_is_set():
    reader = AgsReader("mygame")
    assert isinstance(read(UPDATED, reader=reader), Event)
    assert read(updated(namespace="other"), Topic("other", STATISTIC_TOPIC), reader) is None


@pytest.mark.parametrize(
    ("item", "topic", "code", "field"),
    [
        (updated(namespace="other"), STATISTIC, "namespace_mismatch", "payload.namespace"),
        (
            {**LOGGED_IN, "payload": {"userId": "a"}, "namespace": "other"},
            LOGIN,
            "namespace_mismatch",
            "payload.namespace",
        ),
        (updated(namespace=5), STATISTIC, "namespace_mismatch", "payload.namespace"),
        (updated(userId=None), STATISTIC, "missing_field", "payload.userId"),
        (updated(userId=""), STATISTIC, "empty", "payload.userId"),
        (updated(userId=5), STATISTIC, "wrong_type", "payload.userId"),
        ({"id": "1"}, LOGIN, "missing_field", "payload.userId"),
        (updated(statCode=None), STATISTIC, "missing_field", "payload.statCode"),
        (updated(statCode=""), STATISTIC, "empty", "payload.statCode"),
        (updated(statCode=["x"]), STATISTIC, "wrong_type", "payload.statCode"),
        (updated(statCode="x" * 247), STATISTIC, "too_long", "payload.statCode"),
        (updated(statCode="a\nb"), STATISTIC, "unprintable", "payload.statCode"),
        (updated(value=None), STATISTIC, "missing_field", "payload.value"),
        (updated(value="42"), STATISTIC, "wrong_type", "payload.value"),
        (updated(value=MAX_EXACT + 1), STATISTIC, "number_too_large", "payload.value"),
        (updated(inc="1"), STATISTIC, "wrong_type", "payload.inc"),
        (updated(inc=1e300), STATISTIC, "number_too_large", "payload.inc"),
        ({**UPDATED, "timestamp": 5}, STATISTIC, "wrong_type", "timestamp"),
        ({**UPDATED, "timestamp": "2025-11-10T10:00:00"}, STATISTIC, "invalid_time", "timestamp"),
        ({**UPDATED, "timestamp": "2025-10-10T10:00:00Z"}, STATISTIC, "too_old", "timestamp"),
        ({**UPDATED, "timestamp": "2025-12-10T10:00:00Z"}, STATISTIC, "in_future", "timestamp"),
        ({**UPDATED, "id": 5}, STATISTIC, "wrong_type", "id"),
        ({**UPDATED, "id": "x" * 257}, STATISTIC, "too_long", "id"),
        ({**UPDATED, "payload": "x"}, STATISTIC, "wrong_type", "payload"),
        ({"timestamp": "2025-11-10T10:00:00Z", "x": deep(400)}, LOGIN, "payload_too_deep", "$"),
        ([], STATISTIC, "not_an_object", "$"),
        (LOGGED_IN, Topic("a b", LOGIN_TOPIC), "namespace_mismatch", "payload.namespace"),
        ({"id": "1", "userId": "a"}, Topic("a b", LOGIN_TOPIC), "invalid_tenant", "payload.namespace"),
    ],
)
def test_what_is_wrong_is_refused_by_accelbytes_own_field_names(item, topic, code, field):
    faults = read(item, topic)
    assert isinstance(faults, list)
    [fault] = faults
    assert (fault.code, fault.field) == (code, field)
    assert fault.message.startswith(f"{'the event' if field == '$' else field} ")


@pytest.mark.parametrize("topic", [LOGIN, STATISTIC])
def test_both_topics_are_known_by_any_namespace(topic):
    assert parse_topic(f"mygame.{topic.kind}") == topic


@pytest.mark.parametrize(
    "topic", ["", "x", f".{LOGIN_TOPIC}", LOGIN_TOPIC, f"mygame.{LOGIN_TOPIC}x", "mygame.iam.account.v1.x"]
)
def test_other_topics_are_not_known(topic):
    assert parse_topic(topic) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.dictionaries(
    st.sampled_from(["userId", "namespace", "statCode", "value", "latestValue", "inc", "x"]), JSON
)
ITEMS = JSON | st.fixed_dictionaries(
    {"payload": PAYLOADS | JSON},
    optional=dict.fromkeys(("id", "userId", "namespace", "timestamp"), JSON),
)


@given(ITEMS, st.sampled_from([LOGIN, STATISTIC]))
def test_no_json_value_breaks_the_reader(item, topic):
    outcome = read(item, topic)
    assert isinstance(outcome, Event | list)
    assert outcome
    assert isinstance(outcome, Event) or all(fault.code and fault.field and fault.message for fault in outcome)
