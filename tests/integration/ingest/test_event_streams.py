"""Whole event streams through the receiver, Redis and PostgreSQL end as their authors worked out by hand.

``tests/streams/README.md`` describes the files. Each stream is sent over HTTP in its own order, twice over, and
shuffled and cut into requests in several ways; the end is the same each time (P2, P3).
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import httpx
import orjson
import pytest

from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.pipeline import IngestPipeline
from models.rules.calendar import microseconds
from models.rules.challenge_file.parser import parse_challenges
from models.rules.goals import only
from models.rules.matcher import Matcher
from tests.support.stack import SHARDS, Clock, Stack
from worker.receiver.process import build_app

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FOLDER = Path(__file__).parents[2] / "streams"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))
NOW = datetime(2026, 11, 3, tzinfo=UTC)
LATENESS = timedelta(days=40)
LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)
RULES = parse_challenges((FOLDER / "rules.json").read_bytes(), "rules.json", lateness=LATENESS)
ORDERS = ["own", "doubled", "shuffled-1", "shuffled-2", "shuffled-3", "shuffled-doubled"]


def lines_of(name: str) -> list[Any]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


def expected_of(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.expected.json").read_text())


def ordered(count: int, order: str) -> list[int]:
    """Places of lines, in the order in which they are sent."""
    indexes = list(range(count)) * (2 if order.endswith("doubled") else 1)
    if order.startswith("shuffled"):
        Random(order).shuffle(indexes)
    return indexes


def cut(indexes: list[int], order: str) -> list[list[int]]:
    """Requests of one size, or, of shuffled streams, of any."""
    random, count = Random(order), len(indexes)
    if order.startswith("shuffled"):
        marks = sorted({0, count, *(random.randrange(count) for _ in range(5))})
    else:
        marks = [*range(0, count, 40), count]
    return [indexes[start:end] for start, end in pairwise(marks)]


@dataclass
class Installation:
    """The receiver's app over a stack, so that what is sent is applied when ``send`` returns."""

    stack: Stack

    def __post_init__(self) -> None:
        metrics, clock = self.stack.metrics, self.stack.clock
        self.committer = GroupCommitter(self.stack.journal.append, metrics, LIMITS, clock=clock)
        self.committer.start()
        pipeline = IngestPipeline(self.committer, metrics, max_lateness=LATENESS, clock=clock)
        transport = httpx.ASGITransport(build_app(pipeline, AgsReader(None)))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://receiver")

    async def send(self, items: list[Any]) -> dict[int, tuple[str, str]]:
        """Post one request and apply it; code and field of each refused item by its place."""
        answer = await self.client.post("/v1/events", content=orjson.dumps(items))
        body = answer.json()
        refused = {one["index"]: (one["code"], one["field"]) for one in body["rejected"]}
        assert body["accepted"] == len(items) - len(refused)
        assert answer.status_code == (202 if body["accepted"] else 422)
        self.stack.catch_up_work()
        return refused

    async def end(self) -> None:
        await self.client.aclose()
        self.committer.close()


@pytest.fixture
async def installation(redis, engine):
    made = Installation(Stack(redis, engine, RULES, window=LATENESS, clock=Clock(microseconds(NOW))))
    yield made
    await made.end()


def stored(stack: Stack, statement: str) -> list[Any]:
    with stack.engine.connect() as connection:
        return list(connection.exec_driver_sql(statement))


def assert_state(stack: Stack, expected: Any) -> None:
    rows = stored(stack, "SELECT * FROM user_goal_progress WHERE NOT is_part")
    found = {(row.tenant_id, row.user_id, row.goal_id, row.period): row for row in rows}
    wanted = {
        (user["tenant"], user["user"], row["goal"], row.get("period", "")): row
        for user in expected["users"]
        for row in user["rows"]
    }
    assert {key: (row.progress, row.status) for key, row in found.items()} == {
        key: (Decimal(str(row["progress"])), row["status"]) for key, row in wanted.items()
    }
    exact = {key: datetime.fromisoformat(row["completed_at"]) for key, row in wanted.items() if "completed_at" in row}
    assert {key: found[key].completed_at for key in exact} == exact
    unlocks = {tuple(row) for row in stored(stack, "SELECT tenant_id, user_id, goal_id, period FROM unlocks")}
    assert unlocks == {key for key, row in wanted.items() if row["status"] == "completed"}
    assert stored(stack, "SELECT count(*) FROM events") == [(expected["events"],)]
    assert stack.count("dead_letters") == 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_stream_ends_as_worked_out_in_whatever_order_and_however_often_it_is_sent(installation, name, order):
    lines, expected = lines_of(name), expected_of(name)
    faults = {one["line"] - 1: (one["code"], one["field"]) for one in expected["refused"]}
    for number, indexes in enumerate(cut(ordered(len(lines), order), order)):
        refused = await installation.send([lines[index] for index in indexes])
        assert refused == {at: faults[index] for at, index in enumerate(indexes) if index in faults}
        if order.startswith("shuffled") and number % 2:
            installation.stack.flusher.flush()
            installation.stack.redis.flushall()  # users are loaded from PostgreSQL again
    installation.stack.flusher.flush()
    assert_state(installation.stack, expected)


def test_the_library_has_the_streams_that_it_promises():
    promised = (
        "normal_user power_user delayed retried duplicated out_of_order malformed timezone_travel dst_week late_day"
    )
    assert set(promised.split()) <= set(NAMES)
    assert {path.name.removesuffix(".expected.json") for path in FOLDER.glob("*.expected.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_expectations_say_when_a_goal_was_completed_exactly_where_that_does_not_depend_on_the_order(name):
    nodes = Matcher(only(RULES)).graphs[0].by_id
    for user in expected_of(name)["users"]:
        for row in user["rows"]:
            node = nodes[row["goal"]]
            exact = node.is_exact and (node.gate is None or node.gate.is_exact)
            assert ("completed_at" in row) == (exact and row["status"] == "completed"), row


def test_every_operator_has_a_goal_and_every_goal_a_user():
    used = {row["goal"] for name in NAMES for user in expected_of(name)["users"] for row in user["rows"]}
    assert used == set(RULES.by_id)
    ops = {"count", "sum", "latest", "max", "min", "distinct", "streak", "sequence", "all", "any", "at_least"}
    assert {goal.rule.op for goal in RULES.goals} == ops
