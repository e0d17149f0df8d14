"""Dead letters over HTTP: whatever is redriven counts once, and nothing is deleted before it arrived (P10)."""

from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.pipeline import Intake
from models.access import ANYBODY, Caller
from models.database.dead_letters.changes import LetterChanges
from models.errors import DatabaseUnavailableError
from tests.support.dead_letters import batch_letter, bury, message_letter, progress_row, refused_rows, row_letter
from tests.support.stack import SHARDS, Stack
from worker.receiver.composition import make_dead_letters_router
from worker.receiver.process import build_app

pytestmark = pytest.mark.anyio
LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Door:
    """The receiver's HTTP over a stack; ``caller`` is who knocks."""

    def __init__(self, stack):
        self.stack = stack
        self.caller = ANYBODY
        self.committer = GroupCommitter(
            stack.journal.append, stack.published.extend, stack.meters, LIMITS, clock=stack.clock
        )
        self.committer.start()
        intake = Intake(self.committer, stack.meters, max_lateness=stack.window, clock=stack.clock)
        app = build_app(intake, AgsReader(None), [make_dead_letters_router(stack.engine, intake)])

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
        """What workers do with what was published."""
        batches, self.stack.published[:] = list(self.stack.published), []
        self.stack.apply(*batches)

    def letters(self):
        return self.stack.count("dead_letters")

    def logins(self, user="u1"):
        return self.stack.progress(user).get(("logins", ""), (0, False))[0]


@pytest.fixture
def door(stack):
    door = Door(stack)
    yield door
    door.committer.close()


async def test_what_is_redriven_counts_once_even_where_it_had_been_applied(door, stack):
    applied, lost = stack.event("login"), stack.event("login")
    stack.post(applied)
    bury(stack.engine, batch_letter(applied), batch_letter(lost))
    looked = await door.redrive(dry_run=True)
    assert (looked["redriven"], door.letters(), stack.published) == (2, 2, [])
    report = await door.redrive()
    assert report == {"redriven": 2, "refused": [], "skipped": 0, "left": 0, "next": None}
    assert door.letters() == 0
    door.apply()
    assert door.logins() == 2
    bury(stack.engine, batch_letter(applied), batch_letter(lost))  # and the whole once more
    await door.redrive()
    door.apply()
    assert (door.logins(), door.letters()) == (2, 0)


async def test_an_event_is_redriven_as_it_was(door, stack):
    event = stack.event(
        "workout", value=float(2**53), payload=b'{"km":5}', timezone="Asia/Tokyo", attributes=b'{"plan":"pro"}'
    )._replace(increment=1.5)
    bury(stack.engine, batch_letter(event))
    stack.clock.advance(hours=3)
    await door.redrive()
    door.apply()
    stack.flusher.flush()
    with stack.engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT * FROM events").one()
    assert (row.event_id, row.value, row.increment, row.payload) == (event.event_id, 2.0**53, 1.5, {"km": 5})
    assert (row.timezone, row.attributes, row.source) == ("Asia/Tokyo", {"plan": "pro"}, "test")
    assert [int(at.timestamp() * 1e6) for at in (row.occurred_at, row.accepted_at)] == [event.occurred_at] * 2


async def test_cut_off_before_the_letter_is_deleted_it_is_redriven_again_and_counts_once(door, stack, monkeypatch):
    def cut_off(*_):
        raise DatabaseUnavailableError("cut off")

    bury(stack.engine, batch_letter(stack.event("login")))
    monkeypatch.setattr(LetterChanges, "settle", cut_off)
    answer = await door.client.post("/v1/dead-letters/redrive", json={})
    assert (answer.status_code, door.letters()) == (503, 1)
    monkeypatch.undo()
    await door.redrive()
    door.apply()
    assert (door.logins(), door.letters()) == (1, 0)


async def test_what_is_too_old_stays_and_its_neighbours_go(door, stack):
    old, young = stack.event("login", event_id="old"), stack.event("login", user="u2")
    stack.clock.advance(days=6)
    (letter,) = bury(stack.engine, batch_letter(old, young._replace(occurred_at=stack.clock())))
    stack.clock.advance(days=2)
    report = await door.redrive()
    assert [(one["id"], one["code"]) for one in report["refused"]] == [(letter, "too_old")]
    assert report["refused"][0]["reason"].startswith("1 of 2 events, the first old: occurred_at is older than")
    door.apply()
    assert (door.logins("u1"), door.logins("u2")) == (0, 1)
    shown = (await door.get(f"/{letter}")).json()
    assert shown["event_ids"] == [event["event_id"] for event in shown["contents"]] == ["old"]
    assert (await door.redrive())["refused"][0]["reason"].startswith("1 of 1 events")


async def test_a_letter_that_comes_back_while_it_is_redriven_is_not_deleted(door, stack, monkeypatch):
    letter = batch_letter(stack.event("login"))
    bury(stack.engine, letter)
    settle = LetterChanges.settle

    def settle_after_it_failed_again(changes, head):
        bury(stack.engine, letter)
        return settle(changes, head)

    monkeypatch.setattr(LetterChanges, "settle", settle_after_it_failed_again)
    report = await door.redrive()
    assert [one["code"] for one in report["refused"]] == ["failed_again"]
    assert door.letters() == 1


async def test_a_full_journal_stops_it_and_what_is_done_is_done(redis, engine):
    stack = Stack(redis, engine, max_bytes=SHARDS * 400)
    door = Door(stack)
    try:
        bury(engine, *(batch_letter(stack.event("login")) for _ in range(20)))
        answer = await door.client.post("/v1/dead-letters/redrive", json={})
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:questline:problem:journal-full")
        assert answer.headers["Retry-After"]
        assert 0 < door.letters() < 20
        for _ in range(20):
            door.apply()
            stack.flusher.flush()
            await door.client.post("/v1/dead-letters/redrive", json={})
        door.apply()
        assert (door.letters(), door.logins()) == (0, 20)
    finally:
        door.committer.close()


async def test_rows_that_postgresql_refused_are_written_and_a_newer_one_stays(door, stack):
    event = stack.event("login")
    bury(stack.engine, *(row_letter(kind, item) for kind, item in refused_rows(event, Decimal("1.5")).items()))
    assert (await door.redrive(dry_run=True))["redriven"] == 4
    assert (await door.redrive())["redriven"] == 4
    assert door.letters() == 0
    assert [stack.count(table) for table in ("events", "unlocks", "evaluations")] == [1, 1, 1]
    assert stack.rows() == {("logins", ""): (2, False)}
    bury(stack.engine, row_letter("row", progress_row(stamp=4, amount=1)))
    await door.redrive()
    assert (stack.rows(), door.letters()) == ({("logins", ""): (2, False)}, 0)


async def test_a_row_that_is_refused_again_stays_with_an_attempt_more(door, stack):
    (letter,) = bury(stack.engine, row_letter("unlock", refused_rows(stack.event(), 1)["unlock"]._replace(period=None)))
    report = await door.redrive()
    assert [(one["id"], one["code"]) for one in report["refused"]] == [(letter, "refused_by_postgresql")]
    shown = (await door.get(f"/{letter}")).json()
    assert (shown["attempts"], "null value" in shown["error"]) == (2, True)


async def test_what_cannot_be_redriven_is_said(door, stack):
    broken = batch_letter(stack.event())._replace(raw=b"\xc1junk", event_ids=[])
    strange = batch_letter(stack.event()._replace(user_id=None))
    row = row_letter("row", ["t1"])
    ids = bury(stack.engine, message_letter(), broken, strange, row)
    report = await door.redrive()
    assert (report["redriven"], report["skipped"], door.letters()) == (0, 1, 4)
    codes = {one["id"]: one["code"] for one in report["refused"]}
    assert codes == dict(zip(ids[1:], ("malformed_batch", "wrong_type", "malformed_row"), strict=True))


async def test_pages_lead_through_all_letters_also_those_that_stay(door, stack):
    ids = bury(stack.engine, *(message_letter(bytes([n])) for n in range(5)))
    assert [len((await door.get(limit=2, **more)).json()["letters"]) for more in ({}, {"cursor": ids[3]})] == [2, 2]
    cursor, skipped = None, 0
    for _ in range(3):
        report = await door.redrive(limit=2, cursor=cursor)
        cursor, skipped = report["next"], skipped + report["skipped"]
    assert (cursor, skipped, report["left"]) == (None, 5, 0)
    assert (await door.discard(limit=2, dry_run=True), door.letters()) == (
        {"discarded": 2, "left": 3, "next": ids[1]},
        5,
    )
    assert await door.discard(ids=ids[:2]) == {"discarded": 2, "left": 0, "next": None}
    assert [one["id"] for one in (await door.get()).json()["letters"]] == ids[:1:-1]


async def test_filters_and_causes(door, stack):
    one, two = stack.event(event_id="e1"), stack.event(user="u2", tenant="t2", event_id="e2")
    ids = bury(stack.engine, batch_letter(one), batch_letter(two), message_letter())
    for asked, expected in (
        ({"event_id": "e1"}, ids[:1]), ({"tenant_id": "t2"}, ids[1:2]), ({"user_id": "u1"}, ids[:1]),
        ({"kind": "message"}, ids[2:]), ({"reason": "evaluation_failed", "shard": 1, "batch_id": "b1"}, ids[1::-1]),
        ({"task": "questline.apply_events", "since": "2020-01-01T00:00:00Z"}, ids[1::-1]),
        ({"until": "2020-01-01T00:00:00Z"}, []),
    ):  # fmt: skip
        assert [letter["id"] for letter in (await door.get(**asked)).json()["letters"]] == expected, asked
    groups = (await door.get("/groups")).json()["groups"]
    assert [(group["count"], group["error"], group["example"]) for group in groups] == [
        (2, "ZeroDivisionError: division by zero", ids[1]),
        (1, "not JSON", ids[2]),
    ]


async def test_an_operator_of_one_tenant_sees_and_moves_only_its_letters(door, stack):
    own, other, nobodys = bury(
        stack.engine,
        batch_letter(stack.event(tenant="t1")),
        batch_letter(stack.event(tenant="t2", event_id="secret")),
        message_letter(),
    )
    door.caller = Caller("k", "t1", "admin")
    assert [letter["id"] for letter in (await door.get()).json()["letters"]] == [own]
    assert [group["count"] for group in (await door.get("/groups")).json()["groups"]] == [1]
    for hidden in (other, nobodys):
        answer = await door.get(f"/{hidden}")
        assert (answer.status_code, "secret" in answer.text) == (404, False)
    assert (await door.get(tenant_id="t2")).status_code == 403
    for verb in ("redrive", "discard"):
        answer = await door.client.post(f"/v1/dead-letters/{verb}", json={"tenant_id": "t2"})
        assert (answer.status_code, "secret" in answer.text) == (403, False)
    assert (await door.discard(ids=[other, nobodys]))["discarded"] == 0
    assert (await door.redrive(ids=[other, nobodys, own]))["redriven"] == 1
    door.caller = Caller("k", "t1", "read")
    assert (await door.get()).status_code == 403


@pytest.mark.parametrize(
    ("path", "asked"),
    [("", {"limit": 0}), ("", {"cursor": 2**63}), ("", {"user_id": "a\0b"}), ("", {"since": "yesterday"}),
     ("", {"since": "2026-01-01T00:00:00"}), ("", {"typo": "x"}), ("", {"kind": "nothing"}), ("/0", {}), ("/x", {})],
)  # fmt: skip
async def test_a_question_that_makes_no_sense_is_refused(door, path, asked):
    answer = await door.get(path, **asked)
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
async def test_an_order_that_is_not_clear_is_not_carried_out(door, stack, body):
    bury(stack.engine, message_letter())
    answer = await door.client.post("/v1/dead-letters/discard", json=body)
    assert (answer.status_code, door.letters()) == (422, 1)


async def test_any_time_may_be_asked_for(door):
    for at in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"):
        assert (await door.get(since=at)).status_code == 200
        assert await door.discard(until=at, dry_run=True) == {"discarded": 0, "left": 0, "next": None}


async def test_one_letter_is_shown_with_all_that_is_known(door, stack):
    (letter,) = bury(stack.engine, batch_letter(stack.event("login", event_id="e1", payload=b'{"a":1}')))
    shown = (await door.get(f"/{letter}")).json()
    assert (shown["traceback"], shown["exception"], shown["size"] > 0) == ("Traceback: here", "ZeroDivisionError", True)
    (event,) = shown["contents"]
    assert (event["event_id"], event["payload"], event["occurred_at"]) == (
        "e1", {"a": 1}, "2026-11-21T12:00:00+00:00",
    )  # fmt: skip


async def test_openapi_describes_the_routes(door):
    paths = (await door.client.get("/openapi.json")).json()["paths"]
    assert {path for path in paths if "dead-letters" in path} == {
        "/v1/dead-letters", "/v1/dead-letters/groups", "/v1/dead-letters/{letter_id}",
        "/v1/dead-letters/redrive", "/v1/dead-letters/discard",
    }  # fmt: skip


@pytest.mark.parametrize("verb", ["redrive", "discard"])
async def test_who_is_no_operator_is_refused_before_a_body_is_looked_at(door, verb):
    wrong = {str(number): 1 for number in range(1_000)}
    for scope in ("read", "ingest"):
        door.caller = Caller("k1", "t1", scope)
        answer = await door.client.post(f"/v1/dead-letters/{verb}", json=wrong)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:questline:problem:access-denied")
        assert (await door.get(limit=0)).status_code == 403
    door.caller = Caller("k1", "t1", "admin")
    answer = await door.client.post(f"/v1/dead-letters/{verb}", json=wrong)
    assert answer.status_code == 422
    assert len(answer.content) < 5_000
