"""HTTP in, journal out: the receiver's routes over a real journal."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from ingest.accelbyte import LOGIN_TOPIC, STATISTIC_TOPIC
from models.events import MAX_EXACT, Event
from models.state.connection import connect_state
from tests.support.receiver import GOOD, NOW, PROBLEM, SHARDS, Receiver, assert_problem

pytestmark = pytest.mark.anyio


async def test_one_event_is_in_the_journal_when_the_answer_comes(receiver):
    answer = await receiver.post(GOOD)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    assert receiver.journaled() == [Event("e1", "login", "default", "ada", NOW, NOW)]
    receiver.committer.close()


async def test_a_batch_with_one_bad_event_accepts_the_others(receiver):
    batch = [
        {**GOOD, "event_id": "a"},
        {**GOOD, "event_id": "b", "value": MAX_EXACT + 1},
        5,
        {**GOOD, "event_id": "c"},
    ]
    answer = await receiver.post(batch)
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 2,
        "rejected": [
            {
                "index": 1,
                "event_id": "b",
                "code": "number_too_large",
                "field": "value",
                "message": "value must lie within -2^53 and 2^53",
            },
            {
                "index": 2,
                "event_id": None,
                "code": "not_an_object",
                "field": "$",
                "message": "the event must be a JSON object",
            },
        ],
    }
    assert {event.event_id for event in receiver.journaled()} == {"a", "c"}


async def test_a_thousand_events_of_many_users_arrive_each_in_its_shard(receiver):
    batch = [{**GOOD, "event_id": f"e{n}", "user_id": f"user:{n}|ü"} for n in range(1000)]
    answer = await receiver.post(batch)
    assert answer.json() == {"accepted": 1000, "rejected": []}
    assert {event.event_id for event in receiver.journaled()} == {one["event_id"] for one in batch}


async def test_ids_that_repeat_within_a_request_are_all_taken(receiver):
    assert (await receiver.post([GOOD, GOOD])).json()["accepted"] == 2


async def test_when_every_event_is_refused_the_answer_is_a_problem_with_the_same_body(receiver):
    body = assert_problem(await receiver.post([{**GOOD, "x": 1}, {}]), 422)
    assert body["accepted"] == 0
    assert [(one["index"], one["code"], one["field"]) for one in body["rejected"]] == [
        (0, "unknown_field", "x"),
        (1, "missing_field", "event_id"),
        (1, "missing_field", "event_type"),
        (1, "missing_field", "user_id"),
    ]
    assert receiver.journaled() == []


async def test_an_empty_array_is_a_problem(receiver):
    body = assert_problem(await receiver.post([]), 422)
    assert (body["accepted"], body["rejected"], body["detail"]) == (0, [], "the request holds no event")


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"event_id": nan}', b"\xff\xfe", b"[" * 2000, b'"\\ud8"'])
async def test_what_is_not_json_is_a_problem(receiver, body):
    assert "not JSON" in assert_problem(await receiver.post(body), 400)["detail"]


async def test_more_than_a_thousand_events_are_too_many(receiver):
    assert_problem(await receiver.post([{**GOOD, "event_id": str(n)} for n in range(1001)]), 413)
    assert receiver.journaled() == []


async def test_a_body_of_a_mebibyte_is_read_and_one_byte_more_is_not(receiver):
    text = orjson.dumps(GOOD)
    assert (await receiver.post(text.ljust(1024 * 1024))).status_code == 202
    assert_problem(await receiver.post(text.ljust(1024 * 1024 + 1)), 413)


async def test_a_body_without_a_length_is_cut_off_at_the_limit(receiver):
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while len(sent) < 10_000:
            sent.append(1)
            yield b" " * 65536

    assert_problem(await receiver.client.post("/v1/events", content=endless()), 413)
    assert len(sent) < 30


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("br, identity", 415), ("Identity", 202)])
async def test_a_compressed_body_is_refused_by_its_header(receiver, encoding, status):
    answer = await receiver.client.post(
        "/v1/events", content=orjson.dumps(GOOD), headers={"content-encoding": encoding}
    )
    assert answer.status_code == status
    if status == 415:
        assert "Content-Encoding" in assert_problem(answer, 415)["detail"]
    assert len(receiver.journaled()) == (status == 202)


async def test_a_full_journal_asks_to_come_again(redis):
    receiver = Receiver(redis, max_bytes=SHARDS * 100)
    payload = {"text": "x" * 200}
    answers = [await receiver.post({**GOOD, "event_id": str(n), "payload": payload}) for n in range(3)]
    body = assert_problem(answers[-1], 503)
    assert body["type"] == "urn:questline:problem:journal-full"
    assert "JOURNAL_MAX_BYTES" in body["detail"]
    assert int(answers[-1].headers["retry-after"]) > 0
    receiver.committer.close()
    refused = sum(answer.status_code == 503 for answer in answers)
    assert receiver.metrics._pending["questline_requests_overloaded_total{bytes}"] == refused > 0


async def test_a_redis_that_is_away_asks_to_come_again():
    receiver = Receiver(connect_state("redis://127.0.0.1:1/0"))
    answer = await receiver.post(GOOD)
    assert assert_problem(answer, 503)["type"] == "urn:questline:problem:unavailable"
    assert int(answer.headers["retry-after"]) > 0
    assert "127.0.0.1" not in answer.text  # where it is, is for the log
    receiver.committer.close()


async def test_every_error_of_the_app_is_a_problem(receiver):
    assert_problem(await receiver.client.get("/nowhere"), 404)
    not_allowed = await receiver.client.get("/v1/events")
    assert_problem(not_allowed, 405)
    assert not_allowed.headers["allow"] == "POST"
    assert "number" in assert_problem(await receiver.client.get("/typed/one"), 422)["detail"]
    assert "ZeroDivisionError" not in assert_problem(await receiver.client.get("/broken"), 500)["detail"]


async def test_a_body_with_many_faults_is_told_of_a_few(receiver):
    answer = await receiver.client.post("/counted", json={"a" * 5_000 + str(n): 1 for n in range(30)})
    detail = assert_problem(answer, 422)["detail"]
    assert detail.count("Extra inputs are not permitted") == 10
    assert detail.endswith("; and 20 more")
    assert len(detail) < 5_000
    one = await receiver.client.post("/counted", json={"a": 1})
    assert assert_problem(one, 422)["detail"] == "body.a: Extra inputs are not permitted"


async def test_everything_is_counted(receiver):
    await receiver.post([GOOD, {**GOOD, "x": 1}, {**GOOD, "y": 1}, 5])
    counted = receiver.counted()
    assert counted["challenge_event_handler_events_total"] == 4
    assert counted["questline_events_accepted_total"] == 1
    assert counted["questline_events_rejected_total{unknown_field}"] == 2
    assert counted["questline_events_rejected_total{not_an_object}"] == 1


async def test_the_seeds_two_events_are_taken_as_they_stand(receiver):
    login = b'{\n"id": "event-123",\n"payload": {\n"userId": "abc123",\n"namespace": "mygame"\n}\n}'
    statistic = (
        b'{"id": "event-456", "payload": '
        b'{"userId": "abc123", "namespace": "mygame", "statCode": "match_wins", "value": 42.0}}'
    )
    answers = [
        await receiver.post(login, f"/v1/ags/mygame.{LOGIN_TOPIC}"),
        await receiver.post(statistic, f"/v1/ags/mygame.{STATISTIC_TOPIC}"),
    ]
    assert [(one.status_code, one.json()) for one in answers] == [
        (202, {"accepted": 1, "rejected": [], "ignored": 0})
    ] * 2
    assert sorted(receiver.journaled()) == [
        Event("event-123", "login", "mygame", "abc123", NOW, NOW, source="ags"),
        Event("event-456", "statistic:match_wins", "mygame", "abc123", NOW, NOW, value=42.0, source="ags"),
    ]


async def test_an_unknown_topic_names_the_two_that_are_known(receiver):
    detail = assert_problem(await receiver.post({}, "/v1/ags/mygame.iam.account.v1.deleted"), 404)["detail"]
    assert LOGIN_TOPIC in detail
    assert STATISTIC_TOPIC in detail


async def test_a_refused_accelbyte_event_keeps_its_id(receiver):
    event = {"id": "event-1", "payload": {"userId": "ada", "namespace": "other"}}
    body = assert_problem(await receiver.post(event, f"/v1/ags/mygame.{LOGIN_TOPIC}"), 422)
    assert body["rejected"][0]["event_id"] == "event-1"
    assert body["rejected"][0]["code"] == "namespace_mismatch"


async def test_events_of_other_namespaces_are_acknowledged_and_counted(redis):
    receiver = Receiver(redis, namespace="mygame")
    event = {"id": "event-1", "payload": {"userId": "ada", "namespace": "other"}}
    answer = await receiver.post(event, f"/v1/ags/other.{LOGIN_TOPIC}")
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "rejected": [], "ignored": 1})
    assert receiver.journaled() == []
    assert receiver.counted()["questline_events_ignored_total"] == 1
    receiver.committer.close()


async def test_openapi_describes_bodies_answers_and_problems(receiver):
    schema = (await receiver.client.get("/openapi.json")).json()
    operation = schema["paths"]["/v1/events"]["post"]
    one, many = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert one == many["items"] == {"$ref": "#/components/schemas/Event"}
    event = schema["components"]["schemas"]["Event"]
    assert set(event["required"]) == {"event_id", "event_type", "user_id"}
    assert (await receiver.post(event["example"] | {"occurred_at": now_text()})).status_code == 202
    for path in schema["paths"].values():
        for described in path.values():
            for status, answer in described["responses"].items():
                if status[0] in "45":
                    assert list(answer["content"]) == [PROBLEM]
    assert_every_reference_resolves(schema)
    assert (await receiver.client.get("/docs")).status_code == 200


def now_text() -> str:
    return datetime.fromtimestamp(NOW / 1e6, UTC).isoformat()


def assert_every_reference_resolves(schema: dict[str, Any]) -> None:
    text = orjson.dumps(schema).decode()
    for part in text.split('"$ref":"#/components/schemas/')[1:]:
        assert part.split('"')[0] in schema["components"]["schemas"]
