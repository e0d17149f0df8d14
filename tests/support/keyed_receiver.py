"""A receiver with all its routes and its gRPC server, behind keys, whose clock tests move."""

from datetime import timedelta
from typing import Any

import grpc
import httpx
from grpc import aio

from api.attributes import attributes_router
from api.database_threads import DatabaseThreads
from api.health.readiness import ReadinessProbe
from api.health.routes import health_router
from api.progress.routes import ProgressService, progress_router
from cli.client.messages import LOGIN_METHOD
from cli.client.ports import free_port
from config.settings import Settings
from ingest.accelbyte import AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.grpc.server import GrpcReceiver
from ingest.pipeline import IngestPipeline
from ingest.protos.account_pb2 import UserLoggedIn
from ingest.quotas import Quotas
from models.access.quotas import Quota
from models.database.api_keys import Rights, create_key
from models.database.attributes import AttributeStore
from models.database.rules.publisher import Document
from models.events import Event
from models.state.attributes import AttributeCache
from models.state.keys import METRICS
from models.state.quota_usage import DailyUsage
from models.stores.user_attributes import UserAttributes
from tests.support.journal import journaled_events
from tests.support.stack import GOALS, SHARDS, Clock, FixedRules, Stack
from web.authentication.authenticator import ApiKeyAuthenticator
from web.authentication.key_poller import KeysWatcher
from worker.receiver.process import build_app

LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)


class KeyedReceiver:
    """A receiver with all its routes and its gRPC server, behind an authenticator whose clock tests move."""

    def __init__(self, stack: Stack, **settings: Any) -> None:
        self.stack = stack
        self.clock = Clock()
        self.watcher = KeysWatcher(stack.engine, stack.redis)
        configured = Settings(shards=SHARDS, **settings)
        self.authenticator = ApiKeyAuthenticator(self.watcher, stack.metrics, configured, self.clock)
        self.quotas = Quotas(
            Quota(configured.quota_events, configured.quota_bytes), DailyUsage(stack.redis), stack.metrics, self.clock
        )
        self.committer = GroupCommitter(stack.journal.append, stack.metrics, LIMITS, clock=self.clock)
        self.committer.start()
        pipeline = IngestPipeline(
            self.committer, stack.metrics, max_lateness=timedelta(days=7), clock=self.clock, quotas=self.quotas
        )
        users = UserAttributes(
            AttributeCache(stack.redis, ttl=timedelta(hours=1)), AttributeStore(stack.engine), SHARDS
        )
        progress = ProgressService(
            Document(b"", GOALS, ""), FixedRules(GOALS), stack.records, stack.reader, users, SHARDS, self.clock
        )
        threads = DatabaseThreads()
        routers = [
            progress_router(progress, threads),
            attributes_router(users, threads),
            health_router(ReadinessProbe({}, {})),
        ]
        self.app = build_app(pipeline, AgsReader(None), routers, self.authenticator)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://localhost")
        self.grpc = GrpcReceiver(pipeline, AgsReader(None), self.authenticator)
        self.port = free_port()

    async def open(self) -> None:
        await self.grpc.start("127.0.0.1", self.port)
        self.channel: Any = aio.insecure_channel(f"127.0.0.1:{self.port}")

    async def close(self) -> None:
        await self.client.aclose()
        await self.channel.close()
        await self.grpc.stop(timedelta(seconds=1))
        self.committer.close()

    def key(self, tenant: str, scope: Any, **more: Any) -> str:
        """A new key, which the receiver knows already."""
        made, _ = create_key(self.stack.engine, Rights(tenant, scope, **more))
        self.watcher.refresh()
        return made.text

    async def ask(self, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return await self.client.request(method, path, headers=headers, **more)

    async def post(self, key: str | None, *events: Any) -> httpx.Response:
        return await self.ask("POST", "/v1/events", key, json=list(events))

    async def call(self, key: str | None, namespace: str = "", event_id: str = "g1") -> tuple[grpc.StatusCode, str]:
        """One gRPC call: its status and words."""
        message = UserLoggedIn(id=event_id, namespace=namespace, user_id="ada").SerializeToString()
        metadata = () if key is None else (("x-api-key", key),)
        try:
            await self.channel.unary_unary(LOGIN_METHOD)(message, timeout=10, metadata=metadata)
        except aio.AioRpcError as error:
            return error.code(), str(error.details())
        return grpc.StatusCode.OK, ""

    def journaled(self) -> list[Event]:
        """Every event of the journals."""
        return sorted(journaled_events(self.stack.redis, SHARDS))

    def refused(self) -> dict[str, int]:
        self.stack.metrics.push()
        name = "questline_requests_refused_total{"
        counted: Any = self.stack.redis.hgetall(METRICS)
        found = {field.decode(): int(float(total)) for field, total in counted.items()}
        return {field[len(name) : -1]: total for field, total in found.items() if field.startswith(name)}
