"""Dead letters over HTTP: whatever is redriven counts once, and nothing is deleted before it arrived (P10)."""

from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.pipeline import IngestPipeline
from models.access.callers import ANYBODY, Caller
from models.database.dead_letters.changes import DeadLetterChanges
from models.errors import DatabaseUnavailableError
from tests.support.dead_letters import (
    batch_dead_letter,
    message_dead_letter,
    progress_row,
    refused_rows,
    row_dead_letter,
    store_dead_letters,
)
from tests.support.journal import journaled_events
from tests.support.stack import SHARDS, Stack
from worker.receiver.composition import make_dead_letters_router
from worker.receiver.process import build_app

pytestmark = pytest.mark.anyio
LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)


class Receiver:
    """The receiver's HTTP over a stack; ``caller`` is who knocks."""

    def __init__(self, stack):
        self.stack = stack
        self.caller = ANYBODY
        self.committer = GroupCommitter(stack.journal.append, stack.metrics, LIMITS, clock=stack.clock)
        self.committer.start()
        pipeline = IngestPipeline(self.committer, stack.metrics, max_lateness=stack.window, clock=stack.clock)
        app = build_app(pipeline, AgsReader(None), [make_dead_letters_router(stack.engine, pipeline)])

        @app.middleware("http")
        async def note_caller(request, following):
            request.state.caller = self.caller
            return await following(request)

        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://receiver")

    async def get(self, path="", **asked):
        return await self.client.get(f"/v1/dead-letters{path}", params=asked)

    async def redrive(self, **body):
        answer = await self.client.post("/v1/dead-letters/redrive", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def discard(self, **body):
        return (await self.client.post("/v1/dead-letters/discard", json=body)).json()

    def apply(self):
        """What workers do with what was accepted."""
        self.stack.catch_up_work()

    def dead_letters(self):
        return self.stack.count("dead_letters")

    def logins(self, user="u1"):
        return self.stack.progress(user).get(("logins", ""), (0, False))[0]


@pytest.fixture
def receiver(stack):
    receiver = Receiver(stack)
    yield receiver
    receiver.committer.close()


async def test_what_is_redriven_counts_once_even_where_it_had_been_applied(receiver, stack):
    applied, lost = stack.event("login"), stack.event("login")
    stack.post(applied)
    store_dead_letters(stack.engine, batch_dead_letter(applied), batch_dead_letter(lost))
    looked = await receiver.redrive(dry_run=True)
    assert (looked["redriven"], receiver.dead_letters(), journaled_events(stack.redis, SHARDS)) == (2, 2, [])
    report = await receiver.redrive()
    assert report == {"redriven": 2, "refused": [], "skipped": 0, "left": 0, "next": None}
    assert receiver.dead_letters() == 0
    receiver.apply()
    assert receiver.logins() == 2
    store_dead_letters(stack.engine, batch_dead_letter(applied), batch_dead_letter(lost))  # and the whole once more
    await receiver.redrive()
    receiver.apply()
    assert (receiver.logins(), receiver.dead_letters()) == (2, 0)


async def test_an_event_is_redriven_as_it_was(receiver, stack):
    event = stack.event(
        "workout", value=float(2**53), payload=b'{"km":5}', timezone="Asia/Tokyo", attributes=b'{"plan":"pro"}'
    )._replace(increment=1.5)
    store_dead_letters(stack.engine, batch_dead_letter(event))
    stack.clock.advance(hours=3)
    await receiver.redrive()
    receiver.apply()
    stack.flusher.flush()
    with stack.engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT * FROM events").one()
    assert (row.event_id, row.value, row.increment, row.payload) == (event.event_id, 2.0**53, 1.5, {"km": 5})
    assert (row.timezone, row.attributes, row.source) == ("Asia/Tokyo", {"plan": "pro"}, "test")
    assert [int(at.timestamp() * 1e6) for at in (row.occurred_at, row.accepted_at)] == [event.occurred_at] * 2


async def test_cut_off_before_the_dead_letter_is_deleted_it_is_redriven_again_and_counts_once(
    receiver, stack, monkeypatch
):
    def cut_off(*_):
        raise DatabaseUnavailableError("cut off")

    store_dead_letters(stack.engine, batch_dead_letter(stack.event("login")))
    monkeypatch.setattr(DeadLetterChanges, "resolve", cut_off)
    answer = await receiver.client.post("/v1/dead-letters/redrive", json={})
    assert (answer.status_code, receiver.dead_letters()) == (503, 1)
    monkeypatch.undo()
    await receiver.redrive()
    receiver.apply()
    assert (receiver.logins(), receiver.dead_letters()) == (1, 0)


async def test_what_is_too_old_stays_and_its_neighbours_go(receiver, stack):
    old, young = stack.event("login", event_id="old"), stack.event("login", user="u2")
    stack.clock.advance(days=6)
    (dead_letter,) = store_dead_letters(stack.engine, batch_dead_letter(old, young._replace(occurred_at=stack.clock())))
    stack.clock.advance(days=2)
    report = await receiver.redrive()
    assert [(one["id"], one["code"]) for one in report["refused"]] == [(dead_letter, "too_old")]
    assert report["refused"][0]["reason"].startswith("1 of 2 events, the first old: occurred_at is older than")
    receiver.apply()
    assert (receiver.logins("u1"), receiver.logins("u2")) == (0, 1)
    shown = (await receiver.get(f"/{dead_letter}")).json()
    assert shown["event_ids"] == [event["event_id"] for event in shown["contents"]] == ["old"]
    assert (await receiver.redrive())["refused"][0]["reason"].startswith("1 of 1 events")


async def test_a_dead_letter_that_comes_back_while_it_is_redriven_is_not_deleted(receiver, stack, monkeypatch):
    dead_letter = batch_dead_letter(stack.event("login"))
    store_dead_letters(stack.engine, dead_letter)
    resolve = DeadLetterChanges.resolve

    def resolve_after_it_failed_again(changes, head):
        store_dead_letters(stack.engine, dead_letter)
        return resolve(changes, head)

    monkeypatch.setattr(DeadLetterChanges, "resolve", resolve_after_it_failed_again)
    report = await receiver.redrive()
    assert [one["code"] for one in report["refused"]] == ["failed_again"]
    assert receiver.dead_letters() == 1


async def test_a_full_journal_stops_it_and_what_is_done_is_done(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 400)
    receiver = Receiver(stack)
    try:
        store_dead_letters(engine, *(batch_dead_letter(stack.event("login")) for _ in range(20)))
        answer = await receiver.client.post("/v1/dead-letters/redrive", json={})
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:questline:problem:journal-full")
        assert answer.headers["Retry-After"]
        assert 0 < receiver.dead_letters() < 20
        for _ in range(20):
            receiver.apply()
            stack.flusher.flush()
            await receiver.client.post("/v1/dead-letters/redrive", json={})
        receiver.apply()
        assert (receiver.dead_letters(), receiver.logins()) == (0, 20)
    finally:
        receiver.committer.close()


async def test_rows_that_postgresql_refused_are_written_and_a_newer_one_stays(receiver, stack):
    event = stack.event("login")
    store_dead_letters(
        stack.engine, *(row_dead_letter(kind, item) for kind, item in refused_rows(event, Decimal("1.5")).items())
    )
    assert (await receiver.redrive(dry_run=True))["redriven"] == 4
    assert (await receiver.redrive())["redriven"] == 4
    assert receiver.dead_letters() == 0
    assert [stack.count(table) for table in ("events", "unlocks", "evaluations")] == [1, 1, 1]
    assert stack.rows() == {("logins", ""): (2, False)}
    store_dead_letters(stack.engine, row_dead_letter("row", progress_row(record_version=4, amount=1)))
    await receiver.redrive()
    assert (stack.rows(), receiver.dead_letters()) == ({("logins", ""): (2, False)}, 0)


async def test_a_row_that_is_refused_again_stays_with_an_attempt_more(receiver, stack):
    (dead_letter,) = store_dead_letters(
        stack.engine, row_dead_letter("unlock", refused_rows(stack.event(), 1)["unlock"]._replace(period=None))
    )
    report = await receiver.redrive()
    assert [(one["id"], one["code"]) for one in report["refused"]] == [(dead_letter, "refused_by_postgresql")]
    shown = (await receiver.get(f"/{dead_letter}")).json()
    assert (shown["attempts"], "null value" in shown["error"]) == (2, True)


async def test_what_cannot_be_redriven_is_said(receiver, stack):
    broken = batch_dead_letter(stack.event())._replace(raw=b"\xc1junk", event_ids=[])
    strange = batch_dead_letter(stack.event()._replace(user_id=None))
    row = row_dead_letter("row", ["t1"])
    ids = store_dead_letters(stack.engine, message_dead_letter(), broken, strange, row)
    report = await receiver.redrive()
    assert (report["redriven"], report["skipped"], receiver.dead_letters()) == (0, 1, 4)
    codes = {one["id"]: one["code"] for one in report["refused"]}
    assert codes == dict(zip(ids[1:], ("malformed_batch", "wrong_type", "malformed_row"), strict=True))


async def test_pages_lead_through_all_dead_letters_also_those_that_stay(receiver, stack):
    ids = store_dead_letters(stack.engine, *(message_dead_letter(bytes([n])) for n in range(5)))
    assert [len((await receiver.get(limit=2, **more)).json()["letters"]) for more in ({}, {"cursor": ids[3]})] == [2, 2]
    cursor, skipped = None, 0
    for _ in range(3):
        report = await receiver.redrive(limit=2, cursor=cursor)
        cursor, skipped = report["next"], skipped + report["skipped"]
    assert (cursor, skipped, report["left"]) == (None, 5, 0)
    assert (await receiver.discard(limit=2, dry_run=True), receiver.dead_letters()) == (
        {"discarded": 2, "left": 3, "next": ids[1]},
        5,
    )
    assert await receiver.discard(ids=ids[:2]) == {"discarded": 2, "left": 0, "next": None}
    assert [one["id"] for one in (await receiver.get()).json()["letters"]] == ids[:1:-1]


async def test_filters_and_causes(receiver, stack):
    one, two = stack.event(event_id="e1"), stack.event(user="u2", tenant="t2", event_id="e2")
    ids = store_dead_letters(stack.engine, batch_dead_letter(one), batch_dead_letter(two), message_dead_letter())
    for asked, expected in (
        ({"event_id": "e1"}, ids[:1]), ({"tenant_id": "t2"}, ids[1:2]), ({"user_id": "u1"}, ids[:1]),
        ({"kind": "message"}, ids[2:]), ({"reason": "evaluation_failed", "shard": 1, "batch_id": "b1"}, ids[1::-1]),
        ({"task": "questline.apply_events", "since": "2020-01-01T00:00:00Z"}, ids[1::-1]),
        ({"until": "2020-01-01T00:00:00Z"}, []),
    ):  # fmt: skip
        assert [dead_letter["id"] for dead_letter in (await receiver.get(**asked)).json()["letters"]] == expected, asked
    groups = (await receiver.get("/groups")).json()["groups"]
    assert [(group["count"], group["error"], group["example"]) for group in groups] == [
        (2, "ZeroDivisionError: division by zero", ids[1]),
        (1, "not JSON", ids[2]),
    ]


async def test_an_operator_of_one_tenant_sees_and_moves_only_its_dead_letters(receiver, stack):
    own, other, nobodys = store_dead_letters(
        stack.engine,
        batch_dead_letter(stack.event(tenant="t1")),
        batch_dead_letter(stack.event(tenant="t2", event_id="secret")),
        message_dead_letter(),
    )
    receiver.caller = Caller("k", "t1", "admin")
    assert [dead_letter["id"] for dead_letter in (await receiver.get()).json()["letters"]] == [own]
    assert [group["count"] for group in (await receiver.get("/groups")).json()["groups"]] == [1]
    for hidden in (other, nobodys):
        answer = await receiver.get(f"/{hidden}")
        assert (answer.status_code, "secret" in answer.text) == (404, False)
    assert (await receiver.get(tenant_id="t2")).status_code == 403
    for verb in ("redrive", "discard"):
        answer = await receiver.client.post(f"/v1/dead-letters/{verb}", json={"tenant_id": "t2"})
        assert (answer.status_code, "secret" in answer.text) == (403, False)
    assert (await receiver.discard(ids=[other, nobodys]))["discarded"] == 0
    assert (await receiver.redrive(ids=[other, nobodys, own]))["redriven"] == 1
    receiver.caller = Caller("k", "t1", "read")
    assert (await receiver.get()).status_code == 403


@pytest.mark.parametrize(
    ("path", "asked"),
    [("", {"limit": 0}), ("", {"cursor": 2**63}), ("", {"user_id": "a\0b"}), ("", {"since": "yesterday"}),
     ("", {"since": "2026-01-01T00:00:00"}), ("", {"typo": "x"}), ("", {"kind": "nothing"}), ("/0", {}), ("/x", {})],
)  # fmt: skip
async def test_a_question_that_makes_no_sense_is_refused(receiver, path, asked):
    answer = await receiver.get(path, **asked)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize(
    "body",
    [
        {"dry_run": "yes"},
        {"cursor": True},
        {"ids": ["1"]},
        {"ids": [0]},
        {"since": 5},
        {"typo": 1},
        {"limit": 201},
        [],
        5,
    ],
)
async def test_an_order_that_is_not_clear_is_not_carried_out(receiver, stack, body):
    store_dead_letters(stack.engine, message_dead_letter())
    answer = await receiver.client.post("/v1/dead-letters/discard", json=body)
    assert (answer.status_code, receiver.dead_letters()) == (422, 1)


async def test_any_time_may_be_asked_for(receiver):
    for at in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"):
        assert (await receiver.get(since=at)).status_code == 200
        assert await receiver.discard(until=at, dry_run=True) == {"discarded": 0, "left": 0, "next": None}


async def test_one_dead_letter_is_shown_with_all_that_is_known(receiver, stack):
    (dead_letter,) = store_dead_letters(
        stack.engine, batch_dead_letter(stack.event("login", event_id="e1", payload=b'{"a":1}'))
    )
    shown = (await receiver.get(f"/{dead_letter}")).json()
    assert (shown["traceback"], shown["exception"], shown["size"] > 0) == ("Traceback: here", "ZeroDivisionError", True)
    (event,) = shown["contents"]
    assert (event["event_id"], event["payload"], event["occurred_at"]) == (
        "e1", {"a": 1}, "2026-11-21T12:00:00+00:00",
    )  # fmt: skip


async def test_openapi_describes_the_routes(receiver):
    paths = (await receiver.client.get("/openapi.json")).json()["paths"]
    assert {path for path in paths if "dead-letters" in path} == {
        "/v1/dead-letters", "/v1/dead-letters/groups", "/v1/dead-letters/{letter_id}",
        "/v1/dead-letters/redrive", "/v1/dead-letters/discard",
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["redrive", "discard"])
async def test_who_is_no_operator_is_refused_before_a_body_is_looked_at(receiver, verb):
    wrong = {str(number): 1 for number in range(1_000)}
    for scope in ("read", "ingest"):
        receiver.caller = Caller("k1", "t1", scope)
        answer = await receiver.client.post(f"/v1/dead-letters/{verb}", json=wrong)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:questline:problem:access-denied")
        assert (await receiver.get(limit=0)).status_code == 403
    receiver.caller = Caller("k1", "t1", "admin")
    answer = await receiver.client.post(f"/v1/dead-letters/{verb}", json=wrong)
    assert answer.status_code == 422
    assert len(answer.content) < 5_000
