"""Authentication over HTTP and gRPC, what a key of one tenant may do, and that nothing else happens."""

import asyncio
from array import array
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest
import structlog
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from api.attributes import attributes_router
from api.database_threads import DatabaseThreads
from api.health.readiness import ReadinessProbe
from api.health.routes import health_router
from api.progress.routes import ProgressService, progress_router
from cli.client.messages import LOGIN_METHOD
from cli.client.ports import free_port
from config.settings import Settings
from ingest.accelbyte import LOGIN_TOPIC, AgsReader
from ingest.group import CommitLimits
from ingest.group_commit import GroupCommitter
from ingest.grpc.server import GrpcReceiver
from ingest.pipeline import IngestPipeline
from ingest.protos.account_pb2 import UserLoggedIn
from ingest.quotas import Quotas
from models.access.quotas import Quota
from models.database.api_keys import Rights, create_key, read_keys, revoke_key, rotate_key
from models.database.attributes import AttributeStore
from models.database.connection import connect_database
from models.database.rules.publisher import Document
from models.events import Event, unpack_batch
from models.rules.calendar import microseconds, to_datetime
from models.state.attributes import AttributeCache
from models.state.keys import METRICS, shard_keys
from models.state.quota_usage import DailyUsage
from models.stores.user_attributes import UserAttributes
from tests.support.stack import GOALS, SHARDS, Clock, FixedRules, Stack
from tools.loadtest.requests import Request
from tools.loadtest.targets import BusyError, GrpcTarget
from web.authentication.authenticator import ApiKeyAuthenticator
from web.authentication.key_poller import KeysWatcher
from worker.receiver.process import build_app

pytestmark = pytest.mark.anyio
AWAY = "postgresql://nobody:x@127.0.0.1:1/none"
LIMITS = CommitLimits(SHARDS, timedelta(milliseconds=1), 250)
EVENT = {"event_id": "e1", "event_type": "login", "user_id": "ada"}
READS = ("/v1/users/ada/progress", "/v1/users/ada/attributes")


class House:
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
        self.committer = GroupCommitter(
            stack.journal.append, lambda _batches: None, stack.metrics, LIMITS, clock=self.clock
        )
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
        journals: Any = [self.stack.redis.hvals(shard_keys(shard).journal) for shard in range(SHARDS)]
        return sorted(event for journal in journals for packed in journal for event in unpack_batch(packed))

    def refused(self) -> dict[str, int]:
        self.stack.metrics.push()
        name = "questline_requests_refused_total{"
        counted: Any = self.stack.redis.hgetall(METRICS)
        found = {field.decode(): int(float(total)) for field, total in counted.items()}
        return {field[len(name) : -1]: total for field, total in found.items() if field.startswith(name)}


@pytest.fixture
async def house_of(stack):
    """Makes receivers over one installation; ``house`` is the usual one."""
    made: list[House] = []

    async def make(**settings: Any) -> House:
        made.append(House(stack, **settings))
        await made[-1].open()
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
async def house(house_of: Callable[..., Any]) -> House:
    found: House = await house_of()
    found.watcher.refresh()
    return found


async def test_without_keys_everybody_is_let_in(house):
    assert (await house.post(None, EVENT)).status_code == 202
    assert (await house.call(None))[0] is grpc.StatusCode.OK
    assert (await house.ask("GET", READS[0])).json()["tenant_id"] == "default"
    assert {event.tenant_id for event in house.journaled()} == {"default"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "10.0.0.1:8000"},
        {"Host": "["},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_without_keys_neither_a_proxy_nor_a_web_page_speaks_for_this_machine(house, headers):
    answer = await house.client.post("/v1/events", json=EVENT, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:questline:problem:access-denied")
    assert house.journaled() == []
    for name in ("127.0.0.1:8000", "[::1]:8000", "localhost"):
        ours = {"Host": name, "Origin": "http://localhost:3000"}
        assert (await house.client.post("/v1/events", json=EVENT, headers=ours)).status_code == 202
    key = house.key("t1", "ingest")
    keyed = await house.client.post("/v1/events", json=EVENT, headers=headers | {"X-API-Key": key})
    assert keyed.status_code == 202


async def test_as_soon_as_there_is_a_key_no_request_is_let_in_without_one_and_a_revoked_one_counts(house):
    key = house.key("t1", "admin")
    answer = await house.post(None, EVENT)
    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:questline:problem:unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await house.post("ql_000000000000_wrong", EVENT)).status_code == 401
    assert (await house.call(None))[0] is grpc.StatusCode.UNAUTHENTICATED
    assert (await house.call("ql_000000000000_wrong"))[0] is grpc.StatusCode.UNAUTHENTICATED
    for path in (*READS, "/v1/nowhere"):
        assert (await house.ask("GET", path)).status_code == 401
    revoke_key(house.stack.engine, key.split("_")[1])
    house.watcher.refresh()
    assert (await house.post(key, EVENT)).status_code == 401
    assert (await house.post(None, EVENT)).status_code == 401
    assert house.journaled() == []
    assert house.refused()["unauthenticated"] == 9


async def test_a_grpc_call_without_a_valid_key_is_refused_before_its_message_is_read(house):
    house.key("t1", "ingest")
    call = house.channel.stream_unary(LOGIN_METHOD)()
    async with asyncio.timeout(5):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_health_and_the_description_ask_for_no_key(house):
    house.key("t1", "admin")
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await house.ask("GET", path)).status_code == 200
    house.grpc.health.say(serving=True)
    stub = health_pb2_grpc.HealthStub(house.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING


async def test_an_event_without_a_tenant_belongs_to_that_of_the_key(house):
    key, operator = house.key("t1", "ingest"), house.key("*", "ingest")
    assert (await house.post(key, EVENT, {**EVENT, "event_id": "e2", "tenant_id": "t1"})).json()["accepted"] == 2
    assert (await house.post(operator, {**EVENT, "event_id": "e3"})).status_code == 202
    assert (await house.post(operator, {**EVENT, "event_id": "e4", "tenant_id": "t9"})).status_code == 202
    assert (await house.call(key, event_id="g1"))[0] is grpc.StatusCode.OK
    assert (await house.call(key, "t1", "g2"))[0] is grpc.StatusCode.OK
    tenants = {event.event_id: event.tenant_id for event in house.journaled()}
    assert tenants == {"e1": "t1", "e2": "t1", "e3": "default", "e4": "t9", "g1": "t1", "g2": "t1"}


async def test_a_key_of_one_tenant_writes_nothing_into_another(house):
    key = house.key("t1", "admin")
    batch = [{**EVENT, "event_id": str(n), "tenant_id": "t1"} for n in range(3)]
    for answer in (
        await house.post(key, *batch, {**EVENT, "tenant_id": "t2"}, {"tenant_id": "t2", "broken": True}),
        await house.ask("POST", f"/v1/ags/t2.{LOGIN_TOPIC}", key, json={"id": "a", "payload": {"userId": "ada"}}),
        await house.ask("PUT", f"{READS[1]}?tenant_id=t2", key, json={"plan": "pro"}),
    ):
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:questline:problem:access-denied"
    # The topic is ours, the payload is not: refused by itself, as without keys.
    mixed = {"id": "a", "payload": {"userId": "ada", "namespace": "t2"}}
    answer = await house.ask("POST", f"/v1/ags/t1.{LOGIN_TOPIC}", key, json=[mixed])
    assert answer.json()["rejected"][0]["code"] == "namespace_mismatch"
    assert (await house.call(key, "t2"))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert house.journaled() == []
    assert house.stack.count("user_attributes") == 0
    assert house.refused() == {"denied": 4}


async def test_a_key_of_one_tenant_learns_nothing_of_another(house):
    """The answer is the same for a user who is there and for a tenant that is not."""
    key, other = house.key("t1", "admin"), house.key("t2", "admin")
    assert (await house.ask("PUT", READS[1], other, json={"plan": "secret-plan"})).status_code == 200
    assert (await house.ask("GET", READS[1], other)).json() == {"plan": "secret-plan"}
    for path in READS:
        known = await house.ask("GET", f"{path}?tenant_id=t2", key)
        unknown = await house.ask("GET", f"{path.replace('ada', 'nobody')}?tenant_id=t3", key)
        assert known.status_code == unknown.status_code == 403
        assert known.text.replace("t2", "t3") == unknown.text
        assert known.headers.keys() == unknown.headers.keys()
        assert "secret-plan" not in known.text
    # Without a tenant, each key reads its own.
    assert (await house.ask("GET", READS[1], key)).json() == {}
    assert (await house.ask("GET", READS[0], key)).json()["tenant_id"] == "t1"


async def test_a_scope_allows_its_own_and_nothing_else(house):
    ingest, read, admin = (house.key("t1", scope) for scope in ("ingest", "read", "admin"))
    asked = {
        "send": lambda key: house.post(key, EVENT),
        "read": lambda key: house.ask("GET", READS[0], key),
        "read attributes": lambda key: house.ask("GET", READS[1], key),
        "reveal": lambda key: house.ask("GET", f"{READS[0]}?reveal=true", key),
        "set attributes": lambda key: house.ask("PUT", READS[1], key, json={}),
    }
    for key, may in ((ingest, {"send"}), (read, {"read", "read attributes"}), (admin, set(asked))):
        answers = {name: (await ask(key)).status_code for name, ask in asked.items()}
        assert {name for name, status in answers.items() if status < 300} == may
        assert {status for status in answers.values() if status >= 300} <= {403}
    assert (await house.call(read))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_key_is_rotated_without_a_moment_in_which_none_is_valid(house):
    old = house.key("t1", "ingest", note="game server", rate_limit=1000)
    made, row = rotate_key(house.stack.engine, old.split("_")[1], timedelta(hours=24))
    house.clock.now = microseconds(row.created_at)
    # A receiver that has not looked yet takes the old one, one that has takes both.
    assert (await house.post(old, EVENT)).status_code == 202
    house.watcher.refresh()
    assert [(await house.post(key, EVENT)).status_code for key in (old, made.text)] == [202, 202]
    assert (row.key.tenant_id, row.key.scope, row.note, row.key.rate_limit) == ("t1", "ingest", "game server", 1000)
    house.clock.advance(hours=25)
    house.stack.redis.flushall()  # no worker took what was sent a day ago
    assert [(await house.post(key, EVENT)).status_code for key in (old, made.text)] == [401, 202]
    assert "has expired" in (await house.post(old, EVENT)).json()["detail"]


async def test_too_many_requests_of_a_key_are_told_when_to_come_again(house_of, monkeypatch):
    seconds = [1000.0]
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: seconds[0]))
    monkeypatch.setattr("web.authentication.authenticator.time", lambda: seconds[0])
    house = await house_of(rate_limit=2)
    key, roomy = house.key("t1", "ingest"), house.key("t1", "ingest", rate_limit=500)
    answers = [await house.post(key, EVENT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert answers[2].json()["type"] == "urn:questline:problem:rate-limited"
    assert (await house.call(key))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED  # one limit for both transports
    assert (await house.post(roomy, EVENT)).status_code == 202
    assert house.refused() == {"rate_limited": 2}
    seconds[0] += int(answers[2].headers["retry-after"])
    assert (await house.post(key, EVENT)).status_code == 202


async def test_the_load_tests_grpc_side_shows_its_key_and_waits_when_it_is_told_to(house_of, monkeypatch):
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: 1000.0))
    monkeypatch.setattr("web.authentication.authenticator.time", lambda: 999.0)
    house = await house_of()
    key = house.key("t1", "ingest", rate_limit=1)
    message = UserLoggedIn(id="g1", namespace="t1", user_id="ada").SerializeToString()
    request = Request(LOGIN_METHOD, message, array("L", [0]))
    async with GrpcTarget(f"127.0.0.1:{house.port}") as keyless:
        assert (await keyless.send(request)).rejected == {0: "grpc_unauthenticated"}
    async with GrpcTarget(f"127.0.0.1:{house.port}", key=key) as target:
        assert (await target.send(request)).rejected == {}
        with pytest.raises(BusyError) as caught:
            await target.send(request)
    assert caught.value.retry_after > 1


async def test_the_last_use_is_written_down_later_and_only_where_there_was_one(house):
    key, _unused = house.key("t1", "ingest"), house.key("t1", "ingest")
    await house.post(key, EVENT)
    await house.post(key[:-1] + "?", EVENT)
    assert [row.last_used_at for row in read_keys(house.stack.engine)] == [None, None]  # not on the request's path
    house.watcher.note_uses()
    used = {row.key.key_id: row.last_used_at for row in read_keys(house.stack.engine)}
    assert {key_id for key_id, at in used.items() if at} == {key.split("_")[1]}
    assert used[key.split("_")[1]] == to_datetime(house.clock())


async def test_an_installation_whose_keys_are_not_known_lets_nobody_in(house_of, stack):
    away = Stack(stack.redis, connect_database(AWAY))
    house = House(away)
    await house.open()
    with pytest.raises(Exception, match="did not answer"):
        house.watcher.refresh()
    answer = await house.post(None, EVENT)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert (await house.call(None))[0] is grpc.StatusCode.UNAVAILABLE
    assert (await house.ask("GET", "/healthz")).status_code == 200
    assert house.journaled() == []
    # Another receiver of the installation has read the keys: the copy it left will do.
    key = (await house_of()).key("t1", "ingest")
    with pytest.raises(Exception, match="did not answer"):
        house.watcher.refresh()
    assert (await house.post(key, EVENT)).status_code == 202
    assert (await house.post(None, EVENT)).status_code == 401
    await house.close()


async def test_no_log_line_and_no_answer_holds_a_secret(house):
    with structlog.testing.capture_logs() as lines:
        key = house.key("t1", "ingest")
        wrong = key[:-4] + "oops"
        said = [(await house.post(shown, EVENT)).text for shown in (key, wrong)]
        said += [str(await house.call(shown, "t2")) for shown in (key, wrong)]
        said.append(str(read_keys(house.stack.engine)))
    secrets = {shown.split("_", 2)[2] for shown in (key, wrong)}
    assert not [one for one in (*said, str(lines), str(house.refused())) if any(secret in one for secret in secrets)]


async def test_openapi_says_where_keys_are_shown_and_which_routes_are_free(house):
    schema = (await house.ask("GET", "/openapi.json")).json()
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "header"}
    assert schema["paths"]["/healthz"]["get"]["security"] == []
    responses = schema["paths"]["/v1/events"]["post"]["responses"]
    assert {"401", "403", "429"} <= set(responses)
    assert "security" not in schema["paths"]["/v1/events"]["post"]  # the one of the whole API holds
    assert {} in schema["security"]
