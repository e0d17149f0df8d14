"""The receiver's application over a real journal, without its process."""

from datetime import timedelta
from typing import Any

import httpx
import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from config.shards import shard_for
from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.pipeline import IngestPipeline
from models.events import Event, unpack_batch
from models.state.keys import METRICS
from models.state.metrics import Metrics
from models.state.queue.journal import Journal, JournalBounds
from tests.support.journal import journaled_batches
from worker.receiver.process import build_app

SHARDS = 4
NOW = 1_762_770_600_000_000
LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)
PROBLEM = "application/problem+json"
GOOD = {"event_id": "e1", "event_type": "login", "user_id": "ada"}


class Receiver:
    """The app over a journal, with what it counted."""

    def __init__(self, redis: Any, *, max_bytes: int = 64 * 1024 * 1024, namespace: str | None = None) -> None:
        self.redis = redis
        self.metrics = Metrics(redis)
        journal = Journal(redis, shards=SHARDS, bounds=JournalBounds(max_bytes), retry_after=timedelta(seconds=10))
        self.committer = GroupCommitter(journal.append, self.metrics, LIMITS, clock=lambda: NOW)
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
        for batch in journaled_batches(self.redis, SHARDS):
            events += unpack_batch(batch.packed)
            assert all(shard_for(one.tenant_id, one.user_id, SHARDS) == batch.shard for one in events[-1:])
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


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"]
    assert body["title"]
    assert body["detail"]
    return body
