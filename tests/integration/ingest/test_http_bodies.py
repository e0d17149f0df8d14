"""What a body may be, and how each fault of it is told."""

import orjson
import pytest

from ingest.accelbyte import STATISTIC_TOPIC
from models.state.keys import METRICS
from tests.support.receiver import GOOD

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("bad", "code", "field"),
    [
        (b'{"event_id": "bad", "event_type": "login", "user_id": "\\ud800"}', "unprintable", "user_id"),
        (b'{"event_id": "bad", "event_type": "login", "user_id": "ada", "value": 1e999}', "number_too_large", "value"),
        (b'{"event_id": "bad", "event_type": "login", "user_id": "ada", "value": NaN}', "number_too_large", "value"),
        (
            b'{"event_id": "bad", "event_type": "login", "user_id": "ada", "value": -Infinity}',
            "number_too_large",
            "value",
        ),
        (
            b'{"event_id": "bad", "event_type": "login", "user_id": "ada", "value": ' + b"1" * 5000 + b"}",
            "number_too_large",
            "value",
        ),
        (
            b'{"event_id": "bad", "event_type": "login", "user_id": "ada", "payload": {"a": "\xed\xa0\x80"}}',
            "unprintable",
            "payload",
        ),
    ],
)
async def test_what_strict_json_does_not_know_refuses_its_event_only(receiver, bad, code, field):
    answer = await receiver.post(b"[" + orjson.dumps(GOOD) + b"," + bad + b"]")
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    [refusal] = answer.json()["rejected"]
    assert (refusal["index"], refusal["event_id"], refusal["code"], refusal["field"]) == (1, "bad", code, field)
    assert [event.event_id for event in receiver.journaled()] == ["e1"]


async def test_half_a_surrogate_pair_can_be_answered_wherever_it_stands(receiver):
    for body in (
        b'{"event_id": "\\ud800", "event_type": "login", "user_id": "ada"}',
        b'{"event_id": "e", "event_type": "login", "user_id": "ada", "\\ud800": 1}',
        b'"\\ud800"',
    ):
        answer = await receiver.post(body)
        assert answer.status_code == 422, body
        assert answer.json()["rejected"][0]["code"]
    topic = f"game.{STATISTIC_TOPIC}"
    other = b'{"note": "\\ud800", "big": 1e999, "payload": {"userId": "u", "statCode": "s", "value": 1}}'
    assert (await receiver.post(other, f"/v1/ags/{topic}")).status_code == 202  # fields of theirs are left alone
    answer = await receiver.post(b'{"payload": {"userId": "\\ud800", "value": 1}}', f"/v1/ags/{topic}")
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (orjson.dumps(GOOD).decode().encode("utf-16"), "UTF-16"),
        (orjson.dumps(GOOD).decode().encode("utf-16-le"), "UTF-16"),
        (orjson.dumps(GOOD).decode().encode("utf-32"), "UTF-16"),
        (orjson.dumps(GOOD) + b"x", "the body is not JSON"),
        (orjson.dumps(GOOD) + orjson.dumps(GOOD), "the body is not JSON"),
        (b"[" * 100_000, "nests too deep"),
        (b'{"event_id": "\xff"}', "the body is not JSON"),
    ],
)
async def test_what_is_no_json_is_told_why(receiver, body, said):
    answer = await receiver.post(body)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_a_byte_order_mark_is_skipped(receiver):
    assert (await receiver.post(b"\xef\xbb\xbf" + orjson.dumps(GOOD))).status_code == 202
    assert [event.event_id for event in receiver.journaled()] == ["e1"]


async def test_a_tenant_that_is_null_is_the_default_one(receiver):
    assert (await receiver.post({**GOOD, "tenant_id": None})).status_code == 202
    assert [event.tenant_id for event in receiver.journaled()] == ["default"]


async def test_every_fault_of_an_event_is_told_and_the_event_counts_once(receiver):
    answer = await receiver.post([GOOD, {"event_id": 5, "event_type": "", "user_id": "ada", "extra": 1}])
    told = [(fault["index"], fault["field"]) for fault in answer.json()["rejected"]]
    assert told == [(1, "event_id"), (1, "event_type"), (1, "extra")]
    receiver.metrics.push()
    counted = {name: value for name, value in receiver.redis.hgetall(METRICS).items() if b"rejected" in name}
    assert counted == {b"questline_events_rejected_total{wrong_type}": b"1"}


async def test_the_faults_of_a_request_are_bounded(receiver):
    bad = {f"x{number}": 1 for number in range(20)}
    answer = await receiver.post([bad] * 1000)
    rejected = answer.json()["rejected"]
    assert {fault["index"] for fault in rejected} == set(range(1000))
    assert len(rejected) < 3000


@pytest.mark.parametrize(
    "time", ["2025-W46-1T10:30:00Z", "2025W461T103000Z", "2025-W46T10:30:00Z", "2025-314T10:30:00Z"]
)
async def test_weeks_and_days_of_the_year_are_no_times(receiver, time):
    answer = await receiver.post({**GOOD, "occurred_at": time})
    assert [fault["code"] for fault in answer.json()["rejected"]] == ["invalid_time"]
