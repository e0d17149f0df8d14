"""HTTP in, journal out: the receiver's routes over a real journal."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from config.shards import shard_for
from ingest.accelbyte import LOGIN_TOPIC, STATISTIC_TOPIC, AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.pipeline import IngestPipeline
from models.events import MAX_EXACT, Event, unpack_batch
from models.state.connection import connect_state
from models.state.keys import METRICS, shard_keys
from models.state.metrics import Metrics
from models.state.queue.journal import Journal, JournalBounds
from web.authentication.middleware import FREE_PATHS
from worker.receiver.process import build_app

pytestmark = pytest.mark.anyio
SHARDS = 4
NOW = 1_762_770_600_000_000
LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)
PROBLEM = "application/problem+json"
GOOD = {"event_id": "e1", "event_type": "login", "user_id": "ada"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Receiver:
    """The app over a journal, with what it published and counted."""

    def __init__(self, redis: Any, *, max_bytes: int = 64 * 1024 * 1024, namespace: str | None = None) -> None:
        self.redis = redis
        self.published: list[Any] = []
        self.metrics = Metrics(redis)
        journal = Journal(redis, shards=SHARDS, bounds=JournalBounds(max_bytes), retry_after=timedelta(seconds=10))
        self.committer = GroupCommitter(journal.append, self.published.extend, self.metrics, LIMITS, clock=lambda: NOW)
        self.committer.start()
        pipeline = IngestPipeline(self.committer, self.metrics, max_lateness=timedelta(days=7), clock=lambda: NOW)
        self.app = build_app(pipeline, AgsReader(namespace), [broken_router()])
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://receiver")

    async def post(self, content: Any, path: str = "/v1/events") -> httpx.Response:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        return await self.client.post(path, content=body)

    def journaled(self) -> list[Event]:
        """Every event of every shard's journal, each checked to lie in its own shard."""
        events = []
        for shard in range(SHARDS):
            for packed in self.redis.hgetall(shard_keys(shard).journal).values():
                events += unpack_batch(packed)
                assert all(shard_for(one.tenant_id, one.user_id, SHARDS) == shard for one in events[-1:])
        return events

    def counted(self) -> dict[str, int]:
        self.metrics.push()
        return {
            name.decode(): int(float(total)) for name, total in self.redis.hgetall(METRICS).items() if b"|" not in name
        }


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def broken_router() -> APIRouter:
    router = APIRouter()

    @router.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    @router.post("/counted")
    def counted(body: Strict) -> None:
        pass

    @router.get("/typed/{number}")
    def typed(number: int) -> int:
        return number

    return router


@pytest.fixture
async def receiver(redis):
    made = Receiver(redis)
    yield made
    await made.client.aclose()
    made.committer.close()


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"]
    assert body["title"]
    assert body["detail"]
    return body


async def test_one_event_is_in_the_journal_and_published_when_the_answer_comes(receiver):
    answer = await receiver.post(GOOD)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    assert receiver.journaled() == [Event("e1", "login", "default", "ada", NOW, NOW)]
    receiver.committer.close()
    assert [len(unpack_batch(batch.packed)) for batch in receiver.published] == [1]


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
async def test_what_strict_json_does_not_know_refuses_its_event_only(redis, bad, code, field):
    receiver = Receiver(redis)
    answer = await receiver.post(b"[" + orjson.dumps(GOOD) + b"," + bad + b"]")
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    [refusal] = answer.json()["rejected"]
    assert (refusal["index"], refusal["event_id"], refusal["code"], refusal["field"]) == (1, "bad", code, field)
    assert [event.event_id for event in receiver.journaled()] == ["e1"]


async def test_half_a_surrogate_pair_can_be_answered_wherever_it_stands(redis):
    receiver = Receiver(redis)
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
async def test_what_is_no_json_is_told_why(redis, body, said):
    answer = await Receiver(redis).post(body)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_a_byte_order_mark_is_skipped(redis):
    receiver = Receiver(redis)
    assert (await receiver.post(b"\xef\xbb\xbf" + orjson.dumps(GOOD))).status_code == 202
    assert [event.event_id for event in receiver.journaled()] == ["e1"]


async def test_a_tenant_that_is_null_is_the_default_one(redis):
    receiver = Receiver(redis)
    assert (await receiver.post({**GOOD, "tenant_id": None})).status_code == 202
    assert [event.tenant_id for event in receiver.journaled()] == ["default"]


async def test_every_fault_of_an_event_is_told_and_the_event_counts_once(redis):
    receiver = Receiver(redis)
    answer = await receiver.post([GOOD, {"event_id": 5, "event_type": "", "user_id": "ada", "extra": 1}])
    told = [(fault["index"], fault["field"]) for fault in answer.json()["rejected"]]
    assert told == [(1, "event_id"), (1, "event_type"), (1, "extra")]
    receiver.metrics.push()
    counted = {name: value for name, value in redis.hgetall(METRICS).items() if b"rejected" in name}
    assert counted == {b"questline_events_rejected_total{wrong_type}": b"1"}


async def test_the_faults_of_a_request_are_bounded(redis):
    bad = {f"x{number}": 1 for number in range(20)}
    answer = await Receiver(redis).post([bad] * 1000)
    rejected = answer.json()["rejected"]
    assert {fault["index"] for fault in rejected} == set(range(1000))
    assert len(rejected) < 3000


@pytest.mark.parametrize(
    "time", ["2025-W46-1T10:30:00Z", "2025W461T103000Z", "2025-W46T10:30:00Z", "2025-314T10:30:00Z"]
)
async def test_weeks_and_days_of_the_year_are_no_times(redis, time):
    answer = await Receiver(redis).post({**GOOD, "occurred_at": time})
    assert [fault["code"] for fault in answer.json()["rejected"]] == ["invalid_time"]


async def test_query_parameters_that_a_route_does_not_take_are_named(redis):
    receiver = Receiver(redis)
    answer = await receiver.client.post("/v1/events?tenant=acme", json=GOOD)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "query.tenant: is no parameter: this route takes none"
    assert not receiver.journaled()
    answer = await receiver.client.post(f"/v1/ags/game.{LOGIN_TOPIC}?debug", json=GOOD)
    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["/v1/%ff/x", "/v1/events?tenant_id=%ff", "/v1/ags/%c3%28"])
async def test_an_address_that_is_no_text_is_a_bad_request(redis, path):
    answer = await Receiver(redis).client.post(path, json=GOOD)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/events", 405),
        ("POST", "/v1/events", 400),
        ("GET", "/v1/%ff", 400),
        ("GET", "/docs", 200),
        ("GET", "/docs/assets/swagger-ui.css", 200),
        ("GET", "/broken", 500),
    ],
)
async def test_every_answer_tells_browsers_what_they_may_not_do(redis, method, path, status):
    answer = await Receiver(redis).client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert ("no-store" in answer.headers["Cache-Control"]) is not path.startswith("/docs/assets")


async def test_the_page_of_the_description_loads_nothing_from_elsewhere(redis):
    client = Receiver(redis).client
    page = await client.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    assert "<script>" not in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for path in loaded:
        assert path.startswith("/docs/assets/")
        assert path in FREE_PATHS
        asset = await client.get(path)
        assert asset.status_code == 200
        assert len(asset.content) > 200
    assert (await client.get("/docs/assets/nothing.js")).status_code == 404
    assert (await client.get("/redoc")).headers["location"] == "/docs"
